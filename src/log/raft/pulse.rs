//! Whether a member answers: seen by its heartbeats, for what is asked of it by other connections.
//!
//! A network that was cut for a while leaves connections behind that sleep: TCP repeats what was lost the later the longer it was cut, up to seconds
//! after the other side can be reached again. Heartbeats give theirs up soon, and so are the first to get through.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use tokio::sync::watch;

use super::ground;
use crate::limits::OVERTAKEN_AFTER_MILLISECONDS;

/// When the heartbeat was sent that a member answered last.
pub struct Pulse(watch::Sender<Option<Instant>>);

impl Default for Pulse {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Pulse {
    /// The member has answered a heartbeat that was sent then.
    pub fn answered(&self, sent: Instant) {
        self.0.send_replace(Some(sent));
    }

    /// What comes of asking the member something; nothing, where there is no answer and the member has answered a heartbeat that was sent so much later that
    /// the question can hardly have arrived.
    pub async fn unless_overtaken<T>(&self, asking: impl Future<Output = T>) -> Option<T> {
        let late = ground::now() + Duration::from_millis(OVERTAKEN_AFTER_MILLISECONDS);
        let mut pulse = self.0.subscribe();
        let overtaken = pulse.wait_for(|sent| sent.is_some_and(|sent| sent >= late));
        match select(pin!(asking), pin!(overtaken)).await {
            Either::Left((answer, _)) => Some(answer),
            Either::Right(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const OVERTAKEN_AFTER: Duration = Duration::from_millis(OVERTAKEN_AFTER_MILLISECONDS);

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn only_a_heartbeat_that_was_sent_long_after_the_question_overtakes_it() {
        let pulse = Pulse::default();
        assert_eq!(run(pulse.unless_overtaken(ready(7))), Some(7));
        let overtaken = |sent: Duration| {
            pulse.answered(ground::now() + sent);
            let asking = pulse.unless_overtaken(pending::<()>());
            run(async { tokio::time::timeout(Duration::from_millis(100), asking).await.is_ok() })
        };
        assert!(!overtaken(Duration::ZERO), "the answer may be on its way");
        assert!(overtaken(OVERTAKEN_AFTER * 2));
    }
}
