//! Proposals that come while others are on their way go into the log together. What an entry costs by itself is little beside a sync, a message
//! to each member and a transaction of each store; many that write at once share these, and one alone waits for nobody.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use openraft::alias::OneshotReceiverOf;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResponse;
use tokio::sync::mpsc;
use tokio::task::coop::unconstrained;

use super::ground;
use super::types::{Command, LogId, Raft, Types};
use crate::limits::APPLY_MAX_ENTRIES;

/// So many batches may be under way. With one alone the second of two writers would wait for the first.
const UNDER_WAY_MAX: usize = 2;
/// A batch that is not committed after so long holds up nobody: the next one finds out by itself whether this member leads still.
const LONGEST: Duration = Duration::from_millis(20);

/// What came of a proposal that was committed, or refused.
pub type Written = Result<ClientWriteResponse<Types>, ClientWriteError<Types>>;

/// Who is told.
type Responder = ProgressResponder<Types, Written>;

/// One proposal.
struct Waiting {
    command: Command,
    responder: Responder,
    committed: OneshotReceiverOf<Types, LogId>,
    /// Gone once nobody waits for it any more.
    proposer: Weak<()>,
}

/// What takes proposals.
trait Takes: Send + 'static {
    /// Takes one. False: it takes none any more.
    fn take(&self, command: Command, responder: Responder) -> impl Future<Output = bool> + Send;
}

impl Takes for Raft {
    async fn take(&self, command: Command, responder: Responder) -> bool {
        self.client_write_ff(command, Some(responder)).await.is_ok()
    }
}

/// The way into the log, as long as this member leads.
pub struct Gather(mpsc::UnboundedSender<Waiting>);

impl Gather {
    /// The way, and the task that carries proposals along it until this is dropped.
    pub fn new(raft: Raft) -> (Self, ground::Task) {
        let (queue, waiting) = mpsc::unbounded_channel();
        (Self(queue), Box::pin(run(raft, waiting, LONGEST)))
    }

    /// Proposes, and waits until it is applied. The caller bounds how many wait here. `None`: this member's log has ended.
    pub async fn propose(&self, command: Command) -> Option<Written> {
        let proposer = Arc::new(());
        let (responder, committed, applied) = ProgressResponder::new();
        self.0.send(Waiting { command, responder, committed, proposer: Arc::downgrade(&proposer) }).ok()?;
        applied.await.ok()
    }
}

async fn run(log: impl Takes, mut waiting: mpsc::UnboundedReceiver<Waiting>, longest: Duration) {
    let mut under_way: VecDeque<(Instant, OneshotReceiverOf<Types, LogId>)> = VecDeque::new();
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, APPLY_MAX_ENTRIES).await > 0 {
        while under_way.len() >= UNDER_WAY_MAX {
            if let Some((begun, committed)) = under_way.pop_front() {
                // Committed, refused or late: each ends the wait.
                ground::timeout_at(begun + longest, committed).await;
            }
        }
        while batch.len() < APPLY_MAX_ENTRIES
            && let Ok(more) = waiting.try_recv()
        {
            batch.push(more);
        }
        let mut last = None;
        // In one go: tokio would else let openraft take what there is in the midst of a batch, and the rest would be one of its own.
        let taken = unconstrained(async {
            for Waiting { command, responder, committed, proposer } in batch.drain(..) {
                if proposer.strong_count() == 0 {
                    continue;
                }
                if !log.take(command, responder).await {
                    return false;
                }
                last = Some(committed);
            }
            true
        });
        if !taken.await {
            return;
        }
        under_way.extend(last.map(|committed| (ground::now(), committed)));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{join_all, poll_immediate};
    use openraft::raft::responder::Responder as _;
    use parking_lot::Mutex;

    use super::*;
    use crate::log::raft::types::LeaderId;

    /// Keeps what it takes.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<(u8, Responder)>>>);

    impl Takes for Kept {
        async fn take(&self, command: Command, responder: Responder) -> bool {
            self.0.lock().push((command.0[0], responder));
            true
        }
    }

    fn command(number: u8) -> Command {
        Command(Arc::from([number]))
    }

    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn what_comes_while_two_batches_are_under_way_goes_together_once_the_first_is_committed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let kept = Kept::default();
            let (queue, waiting) = mpsc::unbounded_channel();
            let gather = Gather(queue);
            let running = tokio::spawn(run(kept.clone(), waiting, Duration::from_secs(3600)));
            let taken = || kept.0.lock().iter().map(|(number, _)| *number).collect::<Vec<_>>();
            let mut proposals: Vec<_> = (0..6).map(|number| Box::pin(gather.propose(command(number)))).collect();
            for proposal in &mut proposals[..2] {
                assert!(poll_immediate(proposal).await.is_none());
                settle().await;
            }
            assert_eq!(taken(), [0, 1], "each is a batch, and waits for nobody");
            for proposal in &mut proposals[2..] {
                assert!(poll_immediate(proposal).await.is_none());
                settle().await;
            }
            assert_eq!(taken(), [0, 1]);
            // Its proposer does not wait any longer.
            drop(proposals.remove(3));
            let place = LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index: 1 };
            kept.0.lock()[0].1.on_commit(place);
            settle().await;
            assert_eq!(taken(), [0, 1, 2, 4, 5]);
            // Whoever is refused hears of it; and the task ends with the last proposer.
            for (_, responder) in kept.0.lock().drain(..) {
                responder.on_complete(Err(ClientWriteError::ForwardToLeader(openraft::errors::ForwardToLeader::empty())));
            }
            assert!(join_all(proposals).await.iter().all(|told| matches!(told, Some(Err(_)))));
            drop(gather);
            running.await.unwrap();
        });
    }

    #[test]
    fn a_batch_that_is_not_committed_holds_nobody_up_for_long() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let kept = Kept::default();
            let (queue, waiting) = mpsc::unbounded_channel();
            let gather = Gather(queue);
            tokio::spawn(run(kept.clone(), waiting, Duration::from_millis(1)));
            let mut proposals: Vec<_> = (0..9).map(|number| Box::pin(gather.propose(command(number)))).collect();
            for proposal in &mut proposals {
                assert!(poll_immediate(proposal).await.is_none());
                settle().await;
            }
            while kept.0.lock().len() < 9 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
}
