//! Nodes that come and go while an application runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::call::Pool;
use crate::sync::standard::Mutex;

/// How often it is looked whether there are other nodes.
const GLANCE_EVERY: Duration = Duration::from_secs(1);

/// When it was looked last, and by whom.
#[derive(Default)]
pub(super) struct Glances {
    /// The next time, in milliseconds of the application's clock.
    due: AtomicU64,
    /// Who looks: the others go on with what there is.
    looking: Mutex<()>,
}

impl Pool {
    /// Takes in nodes that have come, and leaves those that are gone. Nothing runs beside the application's calls: now and then one of them looks.
    pub(super) fn glance(&self, now: Duration) {
        let glances = self.glances.get();
        if now.as_millis() as u64 >= glances.due.load(Ordering::Relaxed)
            && let Ok(_looking) = glances.looking.try_lock()
        {
            glances.due.store((now + GLANCE_EVERY).as_millis() as u64, Ordering::Relaxed);
            if let Some(nodes) = self.link.changed() {
                self.view.take(nodes);
            }
        }
    }
}
