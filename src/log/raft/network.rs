//! openraft's calls to other members, carried by whatever room `node` gave us.

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, Read};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::{BoxFuture, Either, select};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use parking_lot::{Mutex, RwLock};

use super::Peers;
use super::codec::{self, EntryRow, LogIdRow, VoteRow};
use super::copies::Copies;
use super::courier::Courier;
use super::fence::Fence;
use super::ground;
use super::line::{Answers, Line, Wanted};
use super::machine::{Carried, DRAFTS, Draft};
use super::message::{Answer, Ask, Envelope, PlaceRow};
use super::pulse::Pulse;
use super::storage::weight;
use super::types::{LogId, Member, NodeId, Snapshot, Types, Vote};
use crate::error::{Code, Doing, Result, refuse};
use crate::limits::{PEER_ANSWER_MAX_MILLISECONDS, SNAPSHOT_INSTALL_MAX_MILLISECONDS, SNAPSHOT_PIECE_MAX_BYTES};
use crate::store::Store;
use crate::sys::files;

/// A group's name. All zeros: not known yet, as the member is new and nobody has called.
pub type GroupId = [u8; 16];

/// Entries of more bytes are sent by a thread: to encode and encrypt them would keep the loop from what must not be late.
const BY_LOOP_MAX_BYTES: usize = 256 << 10;

/// What a call needs besides its target.
pub struct Wires {
    /// The caller.
    pub node: NodeId,
    /// Its group.
    pub group: RwLock<GroupId>,
    /// The carrier.
    pub peers: Arc<dyn Peers>,
    /// Where drafts may be made.
    pub dir: PathBuf,
    /// Numbers copies.
    pub numbers: AtomicU64,
    /// Who is sent one.
    pub copies: Arc<Copies>,
    /// Whether notices may wait.
    pub wanted: Wanted,
    /// Whether the group has ended.
    pub fence: Arc<Fence>,
    /// Who answers heartbeats.
    pub pulses: Mutex<HashMap<NodeId, Arc<Pulse>>>,
}

impl Wires {
    /// Asks a member and waits for its answer. Blocks. Errors: `DeviceError`: none came, or none that can be read.
    pub fn ask(&self, to: NodeId, member: &Member, ask: Ask, deadline: Duration) -> Result<Answer> {
        self.read_answer(to, &self.peers.call(to, member, self.envelope(to, ask), deadline)?)
    }

    /// The same for as long as it is worth waiting for.
    pub fn ask_while(&self, to: NodeId, member: &Member, ask: Ask, wait: (Duration, &dyn Fn() -> bool)) -> Result<Answer> {
        self.read_answer(to, &self.peers.call_while(to, member, self.envelope(to, ask), wait)?)
    }

    /// Reads an answer, and heeds what it says of this member's group.
    fn read_answer(&self, from: NodeId, answer: &[u8]) -> Result<Answer> {
        let answer = codec::decode(answer, &format!("the answer of member {from}"))?;
        self.fence.hear(from, &answer, *self.group.read());
        Ok(answer)
    }

    /// The same, off the loop that must not block.
    async fn ask_off_loop(self: &Arc<Self>, to: NodeId, member: &Member, ask: Ask, deadline: Duration) -> Result<Answer> {
        let (wires, member) = (self.clone(), member.clone());
        let asked = ground::aside(move || wires.ask(to, &member, ask, deadline)).await;
        asked.doing(Code::DeviceError, format!("the call to member {to} broke off"))?
    }

    /// A request as it is carried.
    fn envelope(&self, to: NodeId, ask: Ask) -> Vec<u8> {
        codec::encode(&Envelope { group: *self.group.read(), from: self.node, to, ask })
    }

    /// Sends a copy of the store in pieces. Returns the receiver's vote.
    fn send_copy(&self, to: NodeId, member: &Member, vote: Vote, store: &Store) -> Result<Vote> {
        let told = "cannot make a copy of the store for another member";
        let under_way = self.copies.begin(to);
        let draft = Draft::new(&self.dir, DRAFTS[0]).doing(Code::DeviceError, told)?;
        let place = store.copy_to(draft.path())?;
        let mut file = files::open(draft.path()).doing(Code::DeviceError, told)?;
        let copy = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut offset = 0;
        let mut bytes = read_piece(&mut file).doing(Code::DeviceError, told)?;
        loop {
            let next = read_piece(&mut file).doing(Code::DeviceError, told)?;
            let sent = bytes.len() as u64;
            let is_last = next.is_empty();
            let last = is_last.then(|| PlaceRow { applied: place.applied.clone(), membership: place.membership.clone() });
            let wait = if is_last { SNAPSHOT_INSTALL_MAX_MILLISECONDS } else { PEER_ANSWER_MAX_MILLISECONDS };
            let ask = Ask::Piece { vote: vote.into(), copy, offset, bytes, last };
            match self.ask(to, member, ask, Duration::from_millis(wait))? {
                Answer::Voted { vote, .. } => {
                    under_way.comes_on();
                    return vote.read();
                }
                Answer::Done if !is_last => under_way.comes_on(),
                other => return Err(unexpected(to, &other)),
            }
            offset += sent;
            bytes = next;
        }
    }
}

fn read_piece(file: &mut Box<dyn Read + Send>) -> io::Result<Vec<u8>> {
    let mut piece = Vec::new();
    file.take(SNAPSHOT_PIECE_MAX_BYTES as u64).read_to_end(&mut piece)?;
    Ok(piece)
}

/// The refusal of an answer that does not fit the question.
pub fn unexpected(to: NodeId, answer: &Answer) -> crate::error::Error {
    match answer {
        Answer::Refused { fault, told, .. } => refuse(fault.code(), format!("member {to} refuses: {told}")),
        Answer::NotLeader { .. } => refuse(Code::DeviceError, format!("member {to} does not lead")),
        other => refuse(Code::DeviceError, format!("member {to} gave an answer that does not fit: {other:?}")),
    }
}

/// Makes the links of one member.
pub struct Network {
    pub wires: Arc<Wires>,
}

/// The way to one other member.
#[derive(Clone)]
pub struct Link {
    pub(super) wires: Arc<Wires>,
    pub(super) to: NodeId,
    pub(super) member: Member,
    /// How long an answer to entries may take; a heartbeat's has openraft's own bound.
    pub(super) patience: Option<Duration>,
    /// What carries short entries; all else that is asked goes by whichever thread is free.
    pub(super) courier: Arc<Courier>,
    /// Whether the member answers heartbeats.
    pub(super) pulse: Arc<Pulse>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> Link {
        let patience = Some(Duration::from_millis(PEER_ANSWER_MAX_MILLISECONDS));
        self.link(target, node, patience)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &Member) -> Link {
        self.link(target, node, None)
    }
}

impl Network {
    fn link(&self, to: NodeId, member: &Member, patience: Option<Duration>) -> Link {
        let pulse = self.wires.pulses.lock().entry(to).or_default().clone();
        Link { wires: self.wires.clone(), to, member: member.clone(), patience, courier: Arc::default(), pulse }
    }
}

impl Link {
    async fn ask(&self, ask: Ask, deadline: Duration) -> std::result::Result<Answer, RPCError<Types>> {
        self.wires.ask_off_loop(self.to, &self.member, ask, deadline).await.map_err(unreachable)
    }

    /// The same, by the loop where it may, for what is short and comes one after the other.
    async fn ask_by_loop(&self, ask: Ask, deadline: Duration) -> std::result::Result<Answer, RPCError<Types>> {
        let (wires, to) = (self.wires.clone(), self.to);
        // A simulation's members have no sockets.
        if wires.peers.ways().is_none() || ground::current().is_some() {
            return self.ask(ask, deadline).await;
        }
        let request = wires.envelope(to, ask);
        let at_hand = || wires.peers.ways().and_then(|ways| ways.at_hand(to, &self.member));
        let open = {
            let (wires, member) = (wires.clone(), self.member.clone());
            let none = || refuse(Code::DeviceError, "the loop may have no connections any more");
            move || wires.peers.ways().ok_or_else(none)?.open(to, &member, deadline)
        };
        let asked =
            self.courier.ask(&request, (deadline, &self.pulse), at_hand, open, |answer| wires.read_answer(to, answer)).await;
        asked.map_err(unreachable)
    }

    fn misfit(&self, answer: &Answer) -> RPCError<Types> {
        unreachable(unexpected(self.to, answer))
    }
}

fn read(id: Option<LogIdRow>) -> std::result::Result<Option<LogId>, RPCError<Types>> {
    id.map(LogIdRow::read).transpose().map_err(unreachable)
}

/// What openraft is told of a member that gave no answer, or none that can be used.
pub fn unreachable(error: crate::error::Error) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(&error))
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = Carried;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> std::result::Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.append(rpc, &option).await
    }

    /// Entries go out one request after the other. What only tells how far the log is committed does not hold them up: it is on its way, by a
    /// connection of its own, while the next entries are sent. A member may get the two in any order: it keeps the furthest place that it was
    /// told of, and has the entries that the notice is about since before it was sent.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, std::result::Result<Answers<'s>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let answers = Line::new(self.clone(), option, input).answers();
        Box::pin(async move { Ok(answers) })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> std::result::Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(rpc, false, option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> std::result::Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(rpc, true, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> std::result::Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let Carried::Own(store) = snapshot.snapshot else {
            let told = refuse(Code::DeviceError, "a received copy is not sent on");
            return Err(StreamingError::Unreachable(Unreachable::new(&told)));
        };
        let (wires, to, member) = (self.wires.clone(), self.to, self.member.clone());
        let sending = ground::aside(move || wires.send_copy(to, &member, vote, &store));
        match select(pin!(cancel), pin!(sending)).await {
            // What is under way ends by itself at its next piece's deadline.
            Either::Left((closed, _)) => Err(StreamingError::Closed(closed)),
            Either::Right((sent, _)) => {
                let sent = sent.doing(Code::DeviceError, "sending a copy of the store broke off").and_then(|sent| sent);
                let vote = sent.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))?;
                Ok(SnapshotResponse { vote })
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> std::result::Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let (from, heir) = ((*req.from_leader()).into(), *req.to_node_id());
        let ask = Ask::Transfer { from, last: req.last_log_id().copied().map(Into::into), heir };
        match self.ask(ask, option.hard_ttl()).await? {
            Answer::Done => Ok(Ok(())),
            Answer::Newer { vote } => {
                let actual = vote.read().map_err(unreachable)?;
                Ok(Err(TransferLeaderError::VoteChanged { expected: *req.from_leader(), actual }))
            }
            Answer::Appended { upto, .. } => {
                Ok(Err(TransferLeaderError::LogNotFlushed { expected: req.last_log_id().copied(), actual: read(upto)? }))
            }
            other => Err(self.misfit(&other)),
        }
    }
}

impl Link {
    /// Sends entries, and waits until they are on the other's disk.
    pub(super) fn append(
        &self,
        rpc: AppendEntriesRequest<Types>,
        option: &RPCOption,
    ) -> impl Future<Output = std::result::Result<AppendEntriesResponse<Types>, RPCError<Types>>> + Send + 'static {
        let ask = Ask::Append {
            vote: rpc.vote.into(),
            previous: rpc.prev_log_id.map(Into::into),
            entries: rpc.entries.iter().map(EntryRow::from).collect(),
            committed: rpc.leader_commit.map(Into::into),
        };
        let (link, patience) = (self.clone(), self.patience.unwrap_or(option.hard_ttl()));
        let is_short = !rpc.entries.is_empty() && rpc.entries.iter().map(weight).sum::<usize>() <= BY_LOOP_MAX_BYTES;
        async move {
            let begun = ground::now();
            let answer = if is_short { link.ask_by_loop(ask, patience).await } else { link.ask(ask, patience).await };
            if link.patience.is_none() && answer.is_ok() {
                link.pulse.answered(begun);
            }
            match answer? {
                Answer::Appended { partly: false, .. } => Ok(AppendEntriesResponse::Success),
                Answer::Appended { partly: true, upto } => Ok(AppendEntriesResponse::PartialSuccess(read(upto)?)),
                Answer::Diverged => Ok(AppendEntriesResponse::Conflict),
                Answer::Newer { vote } => Ok(AppendEntriesResponse::HigherVote(vote.read().map_err(unreachable)?)),
                other => Err(link.misfit(&other)),
            }
        }
    }

    async fn ask_vote(
        &self,
        rpc: VoteRequest<Types>,
        rehearsal: bool,
        option: RPCOption,
    ) -> std::result::Result<VoteResponse<Types>, RPCError<Types>> {
        let vote = VoteRow::from(rpc.vote);
        let ask = Ask::Vote { vote, last: rpc.last_log_id.map(Into::into), transfer: rpc.leadership_transfer, rehearsal };
        match self.ask(ask, option.hard_ttl()).await? {
            Answer::Voted { vote, granted, last } => {
                let vote = vote.read().map_err(unreachable)?;
                Ok(VoteResponse { vote, vote_granted: granted, last_log_id: read(last)? })
            }
            other => Err(self.misfit(&other)),
        }
    }
}
