//! The end of a group whose survivor was formed anew by force.
//!
//! The survivor keeps the name of the group that it was of, and names it to whoever still asks it in that name. The asker takes its word, even against a quorum: the
//! promise of `force-new` is that nobody goes on beside the survivor. Who may say so is whom the asker itself counts among its members and has reached
//! under that member's number, which a certificate of the pool's authority proves. Such a one has all keys anyway, and can only end the very group that it
//! names: one that is of another group for any other reason, a wrong address or an old backup among them, names another, or none.
//!
//! A member that has heard it is fenced for good. It does nothing for its group any more, tells the others of it the same, so that those hear it too that do
//! not reach the survivor, and remembers it through restarts. Only a new name, by `force-new` or as a new member, takes that from it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use minicbor::{Decode, Encode};

use super::codec;
use super::ground;
use super::group::Group;
use super::lease::LEASE;
use super::message::{Answer, Fault};
use super::network::GroupId;
use super::types::NodeId;
use crate::error::{Code, Error, Result, refuse};
use crate::store::{Journal, JournalFact};

/// The name of no group.
pub const NOBODY: GroupId = [0; 16];
/// Groups that a survivor remembers to have been of.
const FOREBEARS_MAX: usize = 16;

/// What is written down of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct FenceRow {
    /// The group that has ended.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    group: GroupId,
    /// The member that said so.
    #[n(1)]
    by: NodeId,
}

#[derive(Debug, Encode, Decode)]
struct ForebearRow(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    GroupId,
);

/// Whether a member's group has ended, and which ones ended with its beginning.
#[derive(Default)]
pub struct Fence {
    closed: OnceLock<FenceRow>,
    is_kept: AtomicBool,
    forebears: Vec<GroupId>,
}

impl Fence {
    /// As the journal of a member of `group` has it. Errors: `StoreRefused`: the log is damaged.
    pub fn load(journal: &Journal, group: GroupId) -> Result<Self> {
        let row = journal.fact(JournalFact::Fenced)?;
        let row: Option<FenceRow> = row.map(|bytes| codec::decode(&bytes, "the end of a group")).transpose()?;
        // One of a group that the member is no longer of says nothing of this one.
        let closed = row.filter(|row| row.group == group && group != NOBODY);
        let is_kept = closed.is_some().into();
        Ok(Self { closed: closed.map(OnceLock::from).unwrap_or_default(), is_kept, forebears: forebears(journal)? })
    }

    /// Notes what the answer of a member says of this one's group.
    pub fn hear(&self, from: NodeId, answer: &Answer, own: GroupId) {
        if let Answer::Refused { fault: Fault::OtherGroup, ended: Some(ended), .. } = answer
            && ended.0 == own
            && own != NOBODY
        {
            // Who said it first is as good as any other.
            let _ = self.closed.set(FenceRow { group: own, by: from });
        }
    }

    /// Whether the member must do nothing for its group any more.
    pub fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// Why.
    pub fn told(&self) -> Option<String> {
        let FenceRow { by, .. } = self.closed.get()?;
        Some(format!(
            "member {by} says that a survivor of this group was formed anew by force: this member is of the group that was given up; remove its data"
        ))
    }

    /// The refusal of everything by a member of a group that has ended. Errors: `DeviceError`.
    pub fn check(&self) -> std::result::Result<(), Error> {
        self.told().map_or(Ok(()), |told| Err(refuse(Code::DeviceError, told)))
    }

    /// Whether a member of `own` knows that `group` has ended.
    pub fn has_ended(&self, group: GroupId, own: GroupId) -> bool {
        self.forebears.contains(&group) || (group == own && self.is_closed())
    }
}

/// The groups, newest first, from which the one of this journal was formed by force.
fn forebears(journal: &Journal) -> Result<Vec<GroupId>> {
    let bytes = journal.fact(JournalFact::Forebears)?;
    let rows: Vec<ForebearRow> =
        bytes.map(|bytes| codec::decode(&bytes, "the groups before this one")).transpose()?.unwrap_or_default();
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// The same as they are written down once its present group has ended as well.
pub fn forebears_after(journal: &Journal) -> Result<Vec<u8>> {
    let own = journal.fact(JournalFact::Group)?.and_then(|bytes| GroupId::try_from(bytes).ok());
    let own = own.filter(|own| *own != NOBODY);
    let all = own.into_iter().chain(forebears(journal)?);
    Ok(codec::encode(&all.take(FOREBEARS_MAX).map(ForebearRow).collect::<Vec<_>>()))
}

impl Group {
    /// Has it on the disk that the group has ended, once it is known. One that cannot is fenced until it is started anew, and hears of it then.
    pub(super) fn keep_fence(&self) {
        let fence = &self.wires().fence;
        let Some(row) = fence.closed.get() else { return };
        if fence.is_kept.load(Ordering::Acquire) {
            return;
        }
        let written = self.within(ground::now() + LEASE, self.log().set(JournalFact::Fenced, codec::encode(row)));
        if matches!(written, Ok(Ok(()))) {
            fence.is_kept.store(true, Ordering::Release);
        }
    }
}

impl Group {
    /// Whether it is on the disk that the group has ended.
    #[cfg(test)]
    pub(super) fn is_fence_kept(&self) -> bool {
        self.wires().fence.is_kept.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Ended;
    use super::*;

    fn says(fault: Fault, ended: Option<GroupId>) -> Answer {
        Answer::Refused { fault, told: "no".to_string(), ended: ended.map(Ended) }
    }

    #[test]
    fn only_a_word_about_its_own_group_fences_a_member() {
        let own = [7; 16];
        let fence = Fence::default();
        for answer in [
            says(Fault::OtherGroup, None),
            says(Fault::OtherGroup, Some([8; 16])),
            says(Fault::NoMember, Some(own)),
            says(Fault::Failed, Some(own)),
            Answer::Done,
        ] {
            fence.hear(3, &answer, own);
            assert!(!fence.is_closed() && fence.check().is_ok(), "{answer:?}");
        }
        fence.hear(3, &says(Fault::OtherGroup, Some(NOBODY)), NOBODY);
        assert!(!fence.is_closed(), "a member of no group");
        fence.hear(3, &says(Fault::OtherGroup, Some(own)), own);
        assert!(fence.check().unwrap_err().to_string().contains("member 3"));
        assert!(fence.has_ended(own, own) && !fence.has_ended([8; 16], own));
    }

    #[test]
    fn what_an_older_member_answers_is_read_and_what_it_reads_too() {
        // As it was before there was a third field: a refusal, its fault and its words.
        let old = [0x82, 0x09, 0x82, 0x02, 0x62, b'n', b'o'];
        let answer: Answer = codec::decode(&old, "an answer").unwrap();
        assert!(matches!(answer, Answer::Refused { fault: Fault::OtherGroup, ended: None, .. }), "{answer:?}");
        assert_eq!(codec::encode(&says(Fault::OtherGroup, None)), old);
    }
}
