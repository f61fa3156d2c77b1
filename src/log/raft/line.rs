//! What a leader sends to one other member, in its order: entries, and notices of how far the log is committed.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, Either, MaybeDone, maybe_done, pending, poll_fn, poll_immediate, select};
use futures_util::stream::{BoxStream, unfold};
use futures_util::{FutureExt, Stream, StreamExt};
use openraft::OptionalSend;
use openraft::errors::RPCError;
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::ground;
use super::network::Link;
use super::types::{LogId, Types};

/// Whether somebody waits for what is committed to be applied by other members. Where nobody does, a notice waits for entries to take along.
#[derive(Default)]
pub struct Wanted {
    until: Mutex<Option<Instant>>,
    urged: Notify,
}

/// How long a notice waits for entries at most.
const NOTICE_WAITS: Duration = Duration::from_millis(5);

impl Wanted {
    /// Somebody waits: notices that are held back go out, and those that come now do not wait.
    pub fn urge(&self) {
        *self.until.lock() = Some(ground::now() + NOTICE_WAITS);
        self.urged.notify_waiters();
    }

    fn is_urgent(&self) -> bool {
        self.until.lock().is_some_and(|until| ground::now() < until)
    }

    /// Ready when somebody waits, or that time has come.
    async fn or_late(&self, late: Instant) {
        let mut urged = pin!(self.urged.notified());
        // Whoever urges from now on is heard.
        urged.as_mut().enable();
        if !self.is_urgent() {
            select(urged, ground::sleep_until(late)).await;
        }
    }
}

/// What comes back of one request of a stream.
pub type Answered = std::result::Result<StreamAppendResult<Types>, RPCError<Types>>;
/// One that is waited for, or has come before an older one's.
type Coming = MaybeDone<BoxFuture<'static, Answered>>;
/// The answers to a stream of requests, in their order.
pub type Answers<'s> = BoxStream<'s, Answered>;

/// Requests of one leader to one other member, in their order.
pub struct Line<S> {
    link: Link,
    option: RPCOption,
    /// None once no more requests are taken.
    input: Option<S>,
    under_way: UnderWay,
    /// A notice that waits for entries to take its news along, and until when.
    held: Option<(AppendEntriesRequest<Types>, Instant)>,
    /// The last entry that the other has after all that was sent; `None`: nothing was sent yet.
    sent: Option<Option<LogId>>,
}

/// What was sent and is not answered.
#[derive(Default)]
struct UnderWay {
    /// Each with the last entry that the other then has.
    requests: VecDeque<(Option<LogId>, Coming)>,
    /// Whether the last of them carries entries.
    carries: bool,
}

/// What a line does next.
enum Step {
    /// openraft has a request, or no more.
    Taken(Option<AppendEntriesRequest<Types>>),
    /// The oldest request is answered.
    Answered(Answered),
    /// A notice has waited for long enough.
    Late,
}

/// One more request is taken while no more notices than that are under way.
const NOTICES_MAX: usize = 2;

impl UnderWay {
    /// Lets all of them go on: the loop carries some itself. Ready with the oldest one's answer.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answered> {
        for (_, coming) in &mut self.requests {
            // What has come is taken below.
            let _ = coming.poll_unpin(context);
        }
        let oldest = self.requests.front_mut().and_then(|(_, oldest)| Pin::new(oldest).take_output());
        oldest.map_or(Poll::Pending, Poll::Ready)
    }

    /// The oldest one's answer has come. Returns what openraft may hear, and whether the rest still counts.
    ///
    /// openraft takes an answer for the answer to all requests up to the same entry, and the moment when the last of *them* was made for a moment at
    /// which the other followed this leader. Of two notices about one entry, the answer to the first would vouch for the second: so the first
    /// one's is kept to ourselves. The second one's says the same, and is true; one that is held back goes out yet, or entries in its place.
    fn answered(&mut self, answer: Answered, held: Option<Option<LogId>>) -> (Option<Answered>, bool) {
        let last = self.requests.pop_front().and_then(|(last, _)| last);
        self.carries &= !self.requests.is_empty();
        if !matches!(&answer, Ok(Ok(upto)) if *upto == last) {
            return (Some(answer), false);
        }
        let next = self.requests.front().map(|(next, _)| *next).or(held);
        let is_vouched_for = next.is_some_and(|next| next == last);
        ((!is_vouched_for).then_some(answer), true)
    }
}

impl<S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin> Line<S> {
    /// Nothing is sent yet.
    pub fn new(link: Link, option: RPCOption, input: S) -> Self {
        Self { link, option, input: Some(input), under_way: UnderWay::default(), held: None, sent: None }
    }

    /// Sends the requests, as far as the answers are taken.
    pub fn answers<'s>(self) -> Answers<'s>
    where
        S: 's,
    {
        Box::pin(unfold(self, |mut line| async move { line.next().await.map(|answer| (answer, line)) }))
    }

    /// The answer to the oldest request under way; meanwhile requests are taken. `None`: there are no more.
    async fn next(&mut self) -> Option<Answered> {
        loop {
            let may_take = !self.under_way.carries && self.under_way.requests.len() <= NOTICES_MAX;
            if self.input.is_none() && self.under_way.requests.is_empty() {
                return None;
            }
            let held = self.held.as_ref().map(|(request, until)| (request.prev_log_id, *until));
            let (input, wanted) = (self.input.as_mut().filter(|_| may_take), &self.link.wires.wanted);
            let under_way = &mut self.under_way;
            // What openraft has to send comes first: entries take along what is held back.
            let taken = async {
                match input {
                    Some(input) => input.next().await,
                    None => pending().await,
                }
            };
            let answer = poll_fn(|context| under_way.poll(context));
            let late = async {
                match held {
                    Some((_, until)) => wanted.or_late(until).await,
                    None => pending().await,
                }
            };
            let step = match select(pin!(taken), select(pin!(answer), pin!(late))).await {
                Either::Left((taken, _)) => Step::Taken(taken),
                Either::Right((Either::Left((answer, _)), _)) => Step::Answered(answer),
                Either::Right((Either::Right(((), _)), _)) => Step::Late,
            };
            match step {
                Step::Taken(Some(request)) if self.may_wait(&request) => {
                    let until = held.map_or_else(|| ground::now() + NOTICE_WAITS, |(_, until)| until);
                    self.held = Some((request, until));
                }
                Step::Taken(Some(request)) => {
                    // Entries, or a later notice: each says how far the log is committed, which is no less far.
                    self.held = None;
                    self.send(request).await;
                }
                Step::Taken(None) => {
                    self.input = None;
                    self.send_held().await;
                }
                Step::Late => self.send_held().await,
                Step::Answered(answer) => {
                    let (told, goes_on) = self.under_way.answered(answer, held.map(|(last, _)| last));
                    if !goes_on {
                        (self.input, self.held) = (None, None);
                    }
                    if told.is_some() {
                        return told;
                    }
                }
            }
        }
    }

    /// Whether a request may wait for entries that take it along: it only tells how far the log is committed, to a member that has all entries so
    /// far, and nobody waits for that.
    fn may_wait(&self, request: &AppendEntriesRequest<Types>) -> bool {
        request.entries.is_empty() && self.sent == Some(request.prev_log_id) && !self.link.wires.wanted.is_urgent()
    }

    async fn send_held(&mut self) {
        if let Some((request, _)) = self.held.take() {
            self.send(request).await;
        }
    }

    /// Lets a request go out.
    async fn send(&mut self, request: AppendEntriesRequest<Types>) {
        let (carries, previous) = (!request.entries.is_empty(), request.prev_log_id);
        let last = request.entries.last().map(|entry| entry.log_id).or(previous);
        let append = self.link.append(request, &self.option);
        let answer = async move {
            let response = append.await?;
            Ok(response.into_stream_result(previous, last))
        };
        let mut answer: Coming = maybe_done(Box::pin(answer));
        // It goes out when it is looked at first.
        poll_immediate(&mut answer).await;
        self.under_way.carries = carries;
        self.sent = Some(last);
        self.under_way.requests.push_back((last, answer));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::ready;
    use openraft::impls::leader_id_adv::LeaderId;

    use futures_util::stream;

    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use openraft::RaftNetworkV2;
    use parking_lot::RwLock;
    use tokio::sync::oneshot;

    use super::*;
    use crate::error::Result;
    use crate::log::raft::Peers;
    use crate::log::raft::codec;
    use crate::log::raft::message::{Answer, Ask, Envelope};
    use crate::log::raft::network::{Wires, unreachable};
    use crate::log::raft::types::{Entry, Member, NodeId, Payload, Vote};

    fn up_to(index: u64) -> Option<LogId> {
        Some(openraft::LogId::new(LeaderId { term: 1, node_id: 1 }, index))
    }

    fn under_way(requests: &[(u64, bool)]) -> UnderWay {
        let never = || maybe_done(std::future::pending().boxed());
        let carries = requests.last().is_some_and(|(_, carries)| *carries);
        UnderWay { requests: requests.iter().map(|(index, _)| (up_to(*index), never())).collect(), carries }
    }

    fn good(index: u64) -> Answered {
        Ok(Ok(up_to(index)))
    }

    #[test]
    fn the_answer_to_a_notice_vouches_for_no_later_one() {
        let mut line = under_way(&[(10, false), (10, false), (12, true)]);
        let (told, goes_on) = line.answered(good(10), None);
        assert!(told.is_none() && goes_on, "the second notice is not answered");
        let (told, goes_on) = line.answered(good(10), None);
        assert!(matches!(told, Some(Ok(Ok(upto))) if upto == up_to(10)) && goes_on);
        assert!(line.carries);
        let (told, goes_on) = line.answered(good(12), None);
        assert!(told.is_some() && goes_on && !line.carries && line.requests.is_empty());
    }

    #[test]
    fn the_answer_to_a_notice_vouches_for_no_later_one_that_is_held_back() {
        let (told, goes_on) = under_way(&[(10, false)]).answered(good(10), Some(up_to(10)));
        assert!(told.is_none() && goes_on, "the one that is held back is about the same entry, and goes out yet");
        let (told, goes_on) = under_way(&[(9, false)]).answered(good(9), Some(up_to(10)));
        assert!(told.is_some() && goes_on);
    }

    #[test]
    fn a_later_request_goes_on_while_the_oldest_is_not_answered() {
        let looked = Arc::new(AtomicU64::new(0));
        let later = {
            let looked = looked.clone();
            poll_fn(move |_| match looked.fetch_add(1, Ordering::SeqCst) {
                2 => Poll::Ready(good(12)),
                _ => Poll::Pending,
            })
        };
        let (answer, answered) = oneshot::channel();
        let oldest = async move { answered.await.unwrap() };
        let requests = [(up_to(10), maybe_done(oldest.boxed())), (up_to(12), maybe_done(later.boxed()))];
        let mut line = UnderWay { requests: requests.into(), carries: true };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for _ in 0..5 {
                assert!(poll_immediate(poll_fn(|context| line.poll(context))).await.is_none());
            }
            assert_eq!(looked.load(Ordering::SeqCst), 3, "its answer is kept until it is its turn");
            answer.send(good(10)).map_err(drop).unwrap();
            for upto in [10, 12] {
                let told = poll_fn(|context| line.poll(context)).await;
                assert!(matches!(line.answered(told, None), (Some(Ok(Ok(told))), true) if told == up_to(upto)));
            }
        });
    }

    #[test]
    fn whoever_waits_lets_go_what_is_held_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let wanted = Arc::new(Wanted::default());
            let late = ground::now() + Duration::from_secs(3600);
            let held = tokio::spawn({
                let wanted = wanted.clone();
                async move { wanted.or_late(late).await }
            });
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert!(!held.is_finished());
            wanted.urge();
            held.await.unwrap();
            // What is held back from now on does not wait either.
            wanted.or_late(late).await;
        });
    }

    #[test]
    fn an_answer_that_is_not_whole_is_told_at_once_and_ends_the_line() {
        let mut line = under_way(&[(10, false), (10, false)]);
        let (told, goes_on) = line.answered(good(9), None);
        assert!(matches!(told, Some(Ok(Ok(upto))) if upto == up_to(9)) && !goes_on);
        let mut line = under_way(&[(10, false), (10, false)]);
        let refused = Err(unreachable(crate::error::refuse(crate::error::Code::DeviceError, "gone")));
        let (told, goes_on) = line.answered(refused, None);
        assert!(matches!(told, Some(Err(_))) && !goes_on);
    }

    /// Notes what it is asked to carry: how many entries, and up to where the log is committed.
    #[derive(Default)]
    struct Noted(Mutex<Vec<(usize, Option<u64>)>>);

    impl Peers for Noted {
        fn call(&self, _: NodeId, _: &Member, request: Vec<u8>, _: Duration) -> Result<Vec<u8>> {
            let envelope: Envelope = codec::decode(&request, "a request")?;
            let Ask::Append { entries, committed, .. } = envelope.ask else { panic!("entries or a notice only") };
            self.0.lock().push((entries.len(), committed.map(|id| id.read().unwrap().index)));
            Ok(codec::encode(&Answer::Appended { partly: false, upto: None }))
        }
    }

    fn request(previous: u64, entries: std::ops::Range<u64>, committed: u64) -> AppendEntriesRequest<Types> {
        let blank = |index| Entry { log_id: up_to(index).unwrap(), payload: Payload::Blank };
        AppendEntriesRequest {
            vote: Vote { leader_id: LeaderId { term: 1, node_id: 1 }, committed: true },
            prev_log_id: up_to(previous),
            entries: entries.map(blank).collect(),
            leader_commit: up_to(committed),
        }
    }

    /// What goes out of these requests while `wanted`, and how many answers come back; `ends` says whether there are no more requests.
    fn sent(requests: Vec<AppendEntriesRequest<Types>>, wanted: bool, ends: bool) -> (Vec<(usize, Option<u64>)>, usize) {
        let noted = Arc::new(Noted::default());
        let member = Member { zone: "b".into(), region: "r".into(), address: "b".into() };
        let wires = Arc::new(Wires {
            fence: Default::default(),
            pulses: Default::default(),
            node: 1,
            group: RwLock::new([1; 16]),
            peers: noted.clone(),
            dir: PathBuf::new(),
            numbers: AtomicU64::new(0),
            copies: Default::default(),
            wanted: Wanted::default(),
        });
        if wanted {
            *wires.wanted.until.lock() = Some(Instant::now() + Duration::from_secs(3600));
        }
        let mut link = Link {
            wires,
            to: 2,
            member,
            patience: Some(Duration::from_secs(60)),
            courier: Arc::default(),
            pulse: Arc::default(),
        };
        let (expected, rest) =
            (requests.len(), if ends { stream::empty().left_stream() } else { stream::pending().right_stream() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let answers = runtime.block_on(async {
            let option = RPCOption::new(Duration::from_secs(60));
            let answers = link.stream_append(stream::iter(requests).chain(rest), option).await.unwrap();
            let wait = if ends { Duration::from_secs(60) } else { NOTICE_WAITS * 20 };
            let deadline = tokio::time::sleep(wait);
            answers.take_until(deadline).take(expected).filter(|answer| ready(answer.is_ok())).count().await
        });
        let noted = noted.0.lock().clone();
        (noted, answers)
    }

    #[test]
    fn a_notice_goes_along_with_the_next_entries_unless_somebody_waits_for_it() {
        let requests = || vec![request(9, 10..12, 9), request(11, 0..0, 11), request(11, 12..13, 11)];
        assert_eq!(sent(requests(), false, true), (vec![(2, Some(9)), (1, Some(11))], 2));
        // Sent by itself, it may be overtaken.
        let (mut noted, answers) = sent(requests(), true, true);
        noted.sort_unstable();
        assert_eq!((noted, answers), (vec![(0, Some(11)), (1, Some(11)), (2, Some(9))], 3));
    }

    #[test]
    fn a_notice_without_entries_after_it_goes_out_soon() {
        let requests = || vec![request(9, 10..12, 9), request(11, 0..0, 10), request(11, 0..0, 11)];
        let all = (vec![(2, Some(9)), (0, Some(11))], 2);
        assert_eq!(sent(requests(), false, true), all);
        assert_eq!(sent(requests(), false, false), all);
        // The first request of a line asks where the other stands: that never waits.
        assert_eq!(sent(vec![request(9, 0..0, 9)], false, false).0, [(0, Some(9))]);
    }
}
