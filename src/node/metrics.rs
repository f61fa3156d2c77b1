//! What a node counts, in the OpenMetrics text format. One row a metric.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::token::message::{Tally, Verdict};

/// Which requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    /// The verb.
    pub verb: &'static str,
    /// `done`, `refused` (the caller's mistake), `elsewhere` (this node could not), `unknown` (state is to be sent again).
    pub verdict: &'static str,
}

/// All metrics of a node.
pub struct Metrics {
    registry: Registry,
    requests: Family<Kind, Counter>,
    seconds: Histogram,
    module_calls: Counter,
    module_failed: Counter,
    module_retried: Counter,
    applied: Gauge,
    in_contact: Gauge,
    is_leader: Gauge,
    applications: Gauge,
    streams: Gauge,
}

/// What is looked at when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct Levels {
    pub applied: u64,
    pub in_contact: bool,
    pub is_leader: bool,
    pub applications: usize,
    pub streams: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("hsmpool");
        let requests = Family::default();
        // 10 µs to 20 s.
        let seconds = Histogram::new(exponential_buckets(1e-5, 2.0, 22));
        let (module_calls, module_failed, module_retried) = (Counter::default(), Counter::default(), Counter::default());
        let gauge = Gauge::<i64, AtomicI64>::default;
        let (applied, in_contact, is_leader, applications, streams) = (gauge(), gauge(), gauge(), gauge(), gauge());
        registry.register("requests", "Requests of clients", requests.clone());
        registry.register("request_seconds", "Time that requests took at this node", seconds.clone());
        registry.register("module_calls", "Calls of modules that told this node", module_calls.clone());
        registry.register("module_failed_calls", "Calls that no node could answer in time", module_failed.clone());
        registry.register("module_retried_calls", "Calls that needed a second node or try", module_retried.clone());
        registry.register("applied_changes", "Changes applied here", applied.clone());
        registry.register("in_contact", "1 while a living quorum is heard of", in_contact.clone());
        registry.register("leader", "1 while this node leads", is_leader.clone());
        registry.register("applications", "Applications heard of lately", applications.clone());
        registry.register("streams", "Operations in parts that run here", streams.clone());
        Self {
            registry,
            requests,
            seconds,
            module_calls,
            module_failed,
            module_retried,
            applied,
            in_contact,
            is_leader,
            applications,
            streams,
        }
    }
}

impl Metrics {
    /// One request was answered.
    pub fn answered(&self, verb: &'static str, verdict: &Verdict, took: Duration) {
        let verdict = match verdict {
            Verdict::Done(_) => "done",
            Verdict::Refused(_) => "refused",
            Verdict::Elsewhere(_) => "elsewhere",
            Verdict::Unknown(_) => "unknown",
        };
        self.requests.get_or_create(&Kind { verb, verdict }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// A module told what its calls came to.
    pub fn told(&self, tally: &Tally) {
        add(&self.module_calls, tally.calls);
        add(&self.module_failed, tally.failed);
        add(&self.module_retried, tally.retried);
    }

    /// The text of all metrics. Errors: the formatter's, which does not fail on memory.
    pub fn text(&self, levels: Levels) -> Result<String, std::fmt::Error> {
        self.applied.set(levels.applied as i64);
        self.in_contact.set(levels.in_contact.into());
        self.is_leader.set(levels.is_leader.into());
        self.applications.set(levels.applications as i64);
        self.streams.set(levels.streams as i64);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn add(counter: &Counter<u64, AtomicU64>, more: u64) {
    // A module could tell nonsense; a counter that jumps by more than this says nothing.
    counter.inc_by(more.min(1 << 32));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told() {
        let metrics = Metrics::default();
        metrics.answered("Run", &Verdict::Unknown(Vec::new()), Duration::from_micros(30));
        metrics.told(&Tally { calls: 10, failed: 1, retried: 2 });
        let text = metrics.text(Levels { applied: 7, in_contact: true, ..Levels::default() }).unwrap();
        for line in [
            "hsmpool_requests_total{verb=\"Run\",verdict=\"unknown\"} 1",
            "hsmpool_module_failed_calls_total 1",
            "hsmpool_applied_changes 7",
            "hsmpool_in_contact 1",
            "hsmpool_leader 0",
            "hsmpool_request_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
