//! What other members ask of this one. Whatever the bytes are, there is an answer, and nothing but a well-formed request changes anything.

use std::io::Write;
use std::time::Duration;

use openraft::errors::RaftError;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest};

use super::codec::{self, EntryRow, LogIdRow, VoteRow};
use super::group::{Group, Retry, Tried};
use super::machine::{Carried, DRAFTS, Draft};
use super::message::{Answer, Ask, Ended, Envelope, Fault, PlaceRow};
use super::network::GroupId;
use super::types::{Command, Entry, LogId, NodeId, Snapshot, SnapshotMeta, Types, Vote};
use super::{ground, status};
use crate::error::{Code, Doing, Result, refuse};
use crate::faults::{self, Fault as Mutation};
use crate::limits::{
    APPEND_MAX_ENTRIES, CALL_DEADLINE_SECONDS, PEER_ANSWER_MAX_MILLISECONDS, PROPOSAL_MAX_BYTES, SNAPSHOT_MAX_BYTES,
    SNAPSHOT_PIECE_MAX_BYTES,
};
use crate::store::{CheckedCopy, Place};
use crate::sys::files;

/// Another member's copy of the store, as far as it has come.
pub struct Arriving {
    from: NodeId,
    copy: u64,
    bytes: u64,
    draft: Draft,
    file: Box<dyn Write + Send>,
}

impl Group {
    /// Answers another member's request, which its [`super::Peers::call`] has carried here. Blocks, for no longer than a call may last; never call
    /// it from an asynchronous task. Errors: `DeviceError`: the bytes are no request to this member.
    pub fn answer(&self, request: &[u8]) -> Result<Vec<u8>> {
        self.answer_envelope(codec::decode(request, "a member's request")?)
    }

    /// The same, from one who has proved to be the node of this number. Errors: as above, and where the request says that it is another's.
    pub fn answer_node(&self, proven: NodeId, request: &[u8]) -> Result<Vec<u8>> {
        let envelope: Envelope = codec::decode(request, "a member's request")?;
        if envelope.from != proven {
            return Err(refuse(Code::DeviceError, format!("a request of member {} came from node {proven}", envelope.from)));
        }
        self.answer_envelope(envelope)
    }

    fn answer_envelope(&self, envelope: Envelope) -> Result<Vec<u8>> {
        let node = self.wires().node;
        if envelope.to != node {
            let told = format!("a request for member {} came to member {node}; correct the addresses", envelope.to);
            return Err(refuse(Code::DeviceError, told));
        }
        let answer = match self.admit(&envelope) {
            Ok(true) => self.answer_to(envelope.from, envelope.ask).unwrap_or_else(|retry| self.refusal(retry)),
            Ok(false) => self.refuse_stranger(envelope.group),
            Err(error) => Answer::refused(Fault::of(&error), error.to_string()),
        };
        Ok(codec::encode(&answer))
    }

    /// Whether the asker is of this member's group. A new member joins the group of the first leader that calls.
    fn admit(&self, envelope: &Envelope) -> Result<bool> {
        let group = *self.wires().group.read();
        if group == [0; 16] && envelope.group != group && matches!(envelope.ask, Ask::Append { .. } | Ask::Piece { .. }) {
            self.join(envelope.group)?;
            return Ok(true);
        }
        let is_ours = group == envelope.group && !self.wires().fence.is_closed();
        Ok((is_ours || faults::on(Mutation::OldGroupIsHeard)) && group != [0; 16])
    }

    /// The answer to who is of another group than this member, or of the same one that has ended.
    fn refuse_stranger(&self, group: GroupId) -> Answer {
        let (node, own) = (self.wires().node, *self.wires().group.read());
        if own == [0; 16] {
            return Answer::refused(Fault::Failed, format!("member {node} is of no group yet"));
        }
        let ended = self.wires().fence.has_ended(group, own).then_some(Ended(group));
        let told = format!("member {node} is of another group; it may have been formed anew: remove the old members' data");
        Answer::Refused { fault: Fault::OtherGroup, told, ended }
    }

    fn refusal(&self, retry: Retry) -> Answer {
        match retry {
            Retry::Again(_) => Answer::NotLeader { leader: self.metrics().current_leader },
            Retry::Never(error) => Answer::refused(Fault::of(&error), error.to_string()),
        }
    }

    fn answer_to(&self, from: NodeId, ask: Ask) -> Tried<Answer> {
        let soon = |wait: u64| ground::now() + Duration::from_millis(wait.min(1000 * CALL_DEADLINE_SECONDS));
        let changes = matches!(ask, Ask::Propose { .. } | Ask::Manage { .. });
        if changes && !self.has_member(from) && !faults::on(Mutation::StrangersPropose) {
            return Err(refuse(Code::ArgumentsBad, no_member(from)).into());
        }
        match ask {
            Ask::Append { vote, previous, entries, committed } => {
                let request = appended(from, vote, previous, entries, committed)?;
                self.answer_append(request)
            }
            Ask::Vote { vote, last, transfer, rehearsal } => {
                let mut request = VoteRequest::new(candidacy(from, vote)?, read(last)?);
                request.leadership_transfer = transfer;
                self.answer_vote(request, rehearsal)
            }
            Ask::Transfer { from: vote, last, heir } => self.answer_transfer(leading(from, vote)?, read(last)?, heir),
            Ask::Piece { vote, copy, offset, bytes, last } => {
                let vote = leading(from, vote)?;
                self.take_piece(from, copy, offset, &bytes)?;
                last.map_or(Ok(Answer::Done), |place| self.install(from, vote, place))
            }
            Ask::Propose { proposal, wait_milliseconds, since } => {
                if proposal.len() > PROPOSAL_MAX_BYTES {
                    return Err(refuse(Code::DeviceError, "the proposal is longer than the log takes").into());
                }
                let command = Command(proposal.into());
                // Only what every member can read may be committed.
                codec::proposal(&command)?;
                // Who asks waits until it has applied it as well.
                self.wires().wanted.urge();
                let proposed = self.propose_here(&command, since, soon(wait_milliseconds));
                self.wires().wanted.urge();
                let (index, decision) = proposed?;
                Ok(Answer::Committed { index, decision: decision.into() })
            }
            Ask::ReadIndex => {
                let index = self.read_index_here(soon(PEER_ANSWER_MAX_MILLISECONDS))?;
                self.wires().wanted.urge();
                // One that was removed gets no changes, and must not take itself for up to date. Only now is the leader known to know.
                if !self.has_member(from) {
                    return Ok(Answer::refused(Fault::NoMember, no_member(from)));
                }
                self.asked.lock().insert(from, ground::now());
                Ok(Answer::Before { index })
            }
            Ask::Reach { before, wait_milliseconds } => {
                // Others are asked the same at this moment.
                self.wires().wanted.urge();
                let deadline = soon(wait_milliseconds.min(PEER_ANSWER_MAX_MILLISECONDS));
                let there = self.applying().wait(deadline, |mark| mark.before >= before) && self.keep_committed(deadline);
                Ok(if there { Answer::Done } else { Answer::NotYet })
            }
            Ask::Manage { manage } => {
                let managed = self.manage_here(&manage, soon(1000 * CALL_DEADLINE_SECONDS));
                self.wires().wanted.urge();
                managed.map(|()| Answer::Done)
            }
        }
    }

    fn answer_append(&self, request: AppendEntriesRequest<Types>) -> Tried<Answer> {
        let answer = match self.block_on(self.raft().append_entries(request)).map_err(fatal)? {
            AppendEntriesResponse::Success => Answer::Appended { partly: false, upto: None },
            AppendEntriesResponse::PartialSuccess(upto) => Answer::Appended { partly: true, upto: upto.map(LogIdRow::from) },
            AppendEntriesResponse::Conflict => Answer::Diverged,
            AppendEntriesResponse::HigherVote(vote) => return Ok(Answer::Newer { vote: vote.into() }),
        };
        self.hear();
        Ok(answer)
    }

    fn answer_vote(&self, request: VoteRequest<Types>, rehearsal: bool) -> Tried<Answer> {
        let voted = self
            .block_on(async { if rehearsal { self.raft().pre_vote(request).await } else { self.raft().vote(request).await } });
        let voted = voted.map_err(fatal)?;
        let (vote, last) = (voted.vote.into(), voted.last_log_id.map(LogIdRow::from));
        Ok(Answer::Voted { vote, granted: voted.vote_granted, last })
    }

    /// Every voter is told, and only the heir stands for election.
    fn answer_transfer(&self, vote: Vote, last: Option<LogId>, heir: NodeId) -> Tried<Answer> {
        let request = TransferLeaderRequest::new(vote, heir, last);
        let answered = self.block_on(self.raft().handle_transfer_leader(request)).map_err(|error| status::poisoned(&error))?;
        Ok(match answered {
            Ok(()) => Answer::Done,
            Err(openraft::raft::TransferLeaderError::VoteChanged { actual, .. }) => Answer::Newer { vote: actual.into() },
            Err(openraft::raft::TransferLeaderError::LogNotFlushed { actual, .. }) => {
                Answer::Appended { partly: true, upto: actual.map(LogIdRow::from) }
            }
        })
    }

    /// Adds a piece to the copy that is arriving; the first begins a new one.
    fn take_piece(&self, from: NodeId, copy: u64, offset: u64, bytes: &[u8]) -> Result<()> {
        let told = "cannot keep a copy of the leader's store";
        let mut arriving = self.arriving.lock();
        if offset == 0 {
            *arriving = None;
            let draft = Draft::new(&self.wires().dir, DRAFTS[1]).doing(Code::DeviceError, told)?;
            let file = files::create_new(draft.path()).doing(Code::DeviceError, told)?;
            *arriving = Some(Arriving { from, copy, bytes: 0, draft, file });
        }
        let fits = |known: &&mut Arriving| known.from == from && known.copy == copy && known.bytes == offset;
        let Some(known) = arriving.as_mut().filter(fits) else {
            return Err(refuse(
                Code::DeviceError,
                "a piece of a copy that does not follow the last one; send it from its beginning",
            ));
        };
        let total = known.bytes.saturating_add(bytes.len() as u64);
        if bytes.len() > SNAPSHOT_PIECE_MAX_BYTES || total > SNAPSHOT_MAX_BYTES {
            return Err(refuse(Code::DeviceError, format!("a piece of {} bytes at {offset} is too long", bytes.len())));
        }
        known.file.write_all(bytes).doing(Code::DeviceError, told)?;
        known.bytes = total;
        Ok(())
    }

    /// Installs the copy that has arrived.
    fn install(&self, from: NodeId, vote: Vote, place: PlaceRow) -> Tried<Answer> {
        let arrived = self.arriving.lock().take_if(|arriving| arriving.from == from);
        let Some(Arriving { draft, .. }) = arrived else {
            return Err(refuse(Code::DeviceError, "the copy was replaced by another; send it again").into());
        };
        let copy = CheckedCopy::of(draft.path(), &Place { applied: place.applied, membership: place.membership })?;
        let (last_log_id, last_membership) = codec::standing(copy.place())?;
        if last_log_id.is_none_or(|id| id.leader_id > vote.leader_id) {
            return Err(refuse(Code::DeviceError, format!("member {from} sent a copy that it cannot have")).into());
        }
        let meta = SnapshotMeta { last_log_id, last_membership };
        let snapshot = Snapshot { meta, snapshot: Carried::Received(copy, draft) };
        let installed = self.block_on(self.raft().install_full_snapshot(vote, snapshot));
        let response = installed.map_err(|error| status::poisoned(&error))?;
        self.hear();
        Ok(Answer::Voted { vote: response.vote.into(), granted: false, last: None })
    }
}

fn no_member(node: NodeId) -> String {
    format!("node {node} is no member of the group (any more, if it was removed): nothing is done for it")
}

fn fatal(error: RaftError<Types>) -> Retry {
    match error {
        RaftError::Fatal(fatal) => status::poisoned(&fatal).into(),
        RaftError::APIError(never) => match never {},
    }
}

fn read(id: Option<LogIdRow>) -> Result<Option<LogId>> {
    id.map(LogIdRow::read).transpose()
}

/// The vote of somebody who leads, and asks for itself.
fn leading(from: NodeId, vote: VoteRow) -> Result<Vote> {
    let vote = vote.read()?;
    if !vote.committed || vote.leader_id.node_id != from {
        return Err(refuse(Code::DeviceError, format!("member {from} asks as a leader that it is not")));
    }
    Ok(vote)
}

/// The vote of somebody who wants to lead, and asks for itself.
fn candidacy(from: NodeId, vote: VoteRow) -> Result<Vote> {
    let vote = vote.read()?;
    if vote.committed || vote.leader_id.node_id != from {
        return Err(refuse(Code::DeviceError, format!("member {from} asks as a candidate that it is not")));
    }
    Ok(vote)
}

/// Entries to append, checked as openraft takes for granted: one after the other, terms not falling.
fn appended(
    from: NodeId,
    vote: VoteRow,
    previous: Option<LogIdRow>,
    entries: Vec<EntryRow>,
    committed: Option<LogIdRow>,
) -> Result<AppendEntriesRequest<Types>> {
    let (vote, previous) = (leading(from, vote)?, read(previous)?);
    if entries.len() as u64 > APPEND_MAX_ENTRIES {
        return Err(refuse(
            Code::DeviceError,
            format!("{} entries at once, at most {APPEND_MAX_ENTRIES} are possible", entries.len()),
        ));
    }
    let entries: Vec<Entry> = entries.into_iter().map(EntryRow::into_entry).collect::<Result<_>>()?;
    let mut last = previous;
    for entry in &entries {
        let id = entry.log_id;
        let follows = last.map_or(id.index == 0, |last| id.index == last.index + 1 && id.leader_id >= last.leader_id);
        if !follows || id.leader_id > vote.leader_id {
            return Err(refuse(Code::DeviceError, format!("entry {} does not follow the one before it", id.index)));
        }
        last = Some(id);
    }
    Ok(AppendEntriesRequest { vote, prev_log_id: previous, entries, leader_commit: read(committed)? })
}
