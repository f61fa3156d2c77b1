//! What a node counts, in the OpenMetrics text format. One row a metric.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::heard::MemberLevel;
use super::operate::Counted;
use crate::token::message::{Tally, Verdict};

/// Which requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    /// The verb.
    pub verb: &'static str,
    /// `done`, `refused` (the caller's mistake), `elsewhere` (this node could not), `unknown` (state is to be sent again).
    pub verdict: &'static str,
}

/// Which module, by the name that its connection proved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Module {
    /// The name.
    pub client: String,
}

/// Which other member.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfMember {
    /// Its number.
    pub node: u64,
    /// Its zone.
    pub zone: String,
}

/// Modules that are counted one by one; the others are counted together, so that names do not fill the memory.
const MODULES_MAX: usize = 256;

/// All metrics of a node.
pub struct Metrics {
    registry: Registry,
    requests: Family<Kind, Counter>,
    seconds: Histogram,
    module_calls: Family<Module, Counter>,
    module_failed: Family<Module, Counter>,
    module_retried: Family<Module, Counter>,
    modules: Mutex<HashSet<String>>,
    /// Of modules only.
    total: Mutex<Counted>,
    isolated_use: AtomicU64,
    answers: AtomicU64,
    sent_elsewhere: AtomicU64,
    applied: Gauge,
    in_contact: Gauge,
    lease: Gauge,
    key_use_left: Gauge,
    certificate_ends: Gauge,
    unreached: Gauge,
    member_reachable: Family<OfMember, Gauge>,
    member_lag: Family<OfMember, Gauge>,
    /// What the two tell; none where another one leads.
    members: Mutex<Vec<MemberLevel>>,
    is_leader: Gauge,
    applications: Gauge,
    streams: Gauge,
    events_posted: Counter,
    events_dropped: Counter,
}

/// What is looked at when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct Levels {
    pub applied: u64,
    pub in_contact: bool,
    pub lease: bool,
    /// Seconds.
    pub key_use_left: u64,
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
        let family = Family::<Module, Counter>::default;
        let (module_calls, module_failed, module_retried) = (family(), family(), family());
        let gauge = Gauge::<i64, AtomicI64>::default;
        let (applied, in_contact, is_leader, applications, streams) = (gauge(), gauge(), gauge(), gauge(), gauge());
        let (lease, key_use_left, unreached, certificate_ends) = (gauge(), gauge(), gauge(), gauge());
        let (events_posted, events_dropped) = (Counter::default(), Counter::default());
        registry.register("requests", "Requests of clients", requests.clone());
        registry.register("request_seconds", "Time that requests took at this node", seconds.clone());
        registry.register("module_calls", "Calls of modules that told this node", module_calls.clone());
        registry.register("module_failed_calls", "Calls that no node could answer in time", module_failed.clone());
        registry.register("module_retried_calls", "Calls that needed a second node or try", module_retried.clone());
        registry.register("applied_changes", "Changes applied here", applied.clone());
        registry.register("in_contact", "1 while a living quorum is heard of", in_contact.clone());
        registry.register("serving_lease", "1 while the node knows all that was committed a moment ago", lease.clone());
        let told = "Seconds for which keys are used still without contact to a quorum; isolated_use while there is contact";
        registry.register("key_use_left_seconds", told, key_use_left.clone());
        let told = "Nodes that had not applied a revocation when it was acknowledged here, and have not since";
        registry.register("unreached_nodes", told, unreached.clone());
        let (member_reachable, member_lag) = (Family::<OfMember, Gauge>::default(), Family::<OfMember, Gauge>::default());
        let told = "At the leader: 1 while it hears of that other member";
        registry.register("member_reachable", told, member_reachable.clone());
        let told = "At the leader: committed entries of the log that that other member lacks";
        registry.register("member_lag_entries", told, member_lag.clone());
        let told = "When the node's certificate ends, in seconds since 1970";
        registry.register("certificate_end_timestamp_seconds", told, certificate_ends.clone());
        registry.register("events_posted", "Events that webhooks have taken", events_posted.clone());
        registry.register("events_dropped", "Events that a webhook has missed or refused", events_dropped.clone());
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
            modules: Mutex::default(),
            total: Mutex::default(),
            isolated_use: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            sent_elsewhere: AtomicU64::new(0),
            applied,
            in_contact,
            lease,
            key_use_left,
            certificate_ends,
            unreached,
            member_reachable,
            member_lag,
            members: Mutex::default(),
            is_leader,
            applications,
            streams,
            events_posted,
            events_dropped,
        }
    }
}

impl Metrics {
    /// One request was answered.
    pub fn answered(&self, verb: &'static str, verdict: &Verdict, took: Duration) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.sent_elsewhere.fetch_add(u64::from(matches!(verdict, Verdict::Elsewhere(_))), Ordering::Relaxed);
        let verdict = match verdict {
            Verdict::Done(_) => "done",
            Verdict::Refused(_) => "refused",
            Verdict::Elsewhere(_) => "elsewhere",
            Verdict::Unknown(_) => "unknown",
        };
        self.requests.get_or_create(&Kind { verb, verdict }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// A module told what its calls came to. It could tell nonsense: a count that jumps by more than this says nothing.
    pub fn told(&self, client: &str, tally: &Tally) {
        let sane = |count: u64| count.min(1 << 32);
        let (calls, failed, retried) = (sane(tally.calls), sane(tally.failed), sane(tally.retried));
        let module = Module { client: self.name_of(client).to_string() };
        self.module_calls.get_or_create(&module).inc_by(calls);
        self.module_failed.get_or_create(&module).inc_by(failed);
        self.module_retried.get_or_create(&module).inc_by(retried);
        let mut total = self.total.lock();
        total.module_calls += calls;
        total.module_failed += failed;
        total.module_retried += retried;
    }

    fn name_of<'a>(&self, client: &'a str) -> &'a str {
        let mut modules = self.modules.lock();
        if modules.contains(client) {
            return client;
        }
        if modules.len() >= MODULES_MAX {
            return "others";
        }
        modules.insert(client.to_string());
        client
    }

    /// For how many seconds keys are used without contact to a quorum.
    pub fn isolated_use(&self) -> u64 {
        self.isolated_use.load(Ordering::Relaxed)
    }

    /// What was configured.
    pub fn set_isolated_use(&self, time: Duration) {
        self.isolated_use.store(time.as_secs(), Ordering::Relaxed);
    }

    /// When the node's certificate ends, in seconds since 1970.
    pub fn set_certificate_ends(&self, ends: i64) {
        self.certificate_ends.set(ends);
    }

    /// So many members had not applied a revocation when it was acknowledged here, and have not since.
    pub fn set_unreached(&self, members: usize) {
        self.unreached.set(members as i64);
    }

    /// What the leader knows of the other members; nothing elsewhere.
    pub fn set_members(&self, members: Vec<MemberLevel>) {
        *self.members.lock() = members;
    }

    /// All calls together.
    pub fn availability(&self) -> Counted {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counted { requests: count(&self.answers), sent_elsewhere: count(&self.sent_elsewhere), ..*self.total.lock() }
    }

    /// A webhook has taken so many events, and missed or refused so many.
    pub fn posted(&self, taken: u64, dropped: u64) {
        self.events_posted.inc_by(taken);
        self.events_dropped.inc_by(dropped);
    }

    /// The text of all metrics. Errors: the formatter's, which does not fail on memory.
    pub fn text(&self, levels: Levels) -> Result<String, std::fmt::Error> {
        self.applied.set(levels.applied as i64);
        self.in_contact.set(levels.in_contact.into());
        self.lease.set(levels.lease.into());
        self.key_use_left.set(levels.key_use_left as i64);
        self.is_leader.set(levels.is_leader.into());
        self.applications.set(levels.applications as i64);
        self.streams.set(levels.streams as i64);
        // Held until the text is there: another one that asks would find it half made.
        let members = self.members.lock();
        self.member_reachable.clear();
        self.member_lag.clear();
        for member in members.iter() {
            let label = OfMember { node: member.node, zone: member.zone.clone() };
            if let Some(reachable) = member.reachable {
                self.member_reachable.get_or_create(&label).set(reachable.into());
            }
            self.member_lag.get_or_create(&label).set(member.lag as i64);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told() {
        let metrics = Metrics::default();
        metrics.answered("Run", &Verdict::Unknown(Vec::new()), Duration::from_micros(30));
        metrics.told("web", &Tally { calls: 10, failed: 1, retried: 2 });
        metrics.posted(3, 1);
        metrics.set_certificate_ends(1_800_000_000);
        for number in 0..MODULES_MAX + 5 {
            metrics.told(&format!("client {number}"), &Tally { calls: 1, ..Tally::default() });
        }
        let text = metrics.text(Levels { applied: 7, in_contact: true, ..Levels::default() }).unwrap();
        for line in [
            "hsmpool_requests_total{verb=\"Run\",verdict=\"unknown\"} 1",
            "hsmpool_module_failed_calls_total{client=\"web\"} 1",
            "hsmpool_module_calls_total{client=\"others\"} 6",
            "hsmpool_events_dropped_total 1",
            "hsmpool_applied_changes 7",
            "hsmpool_in_contact 1",
            "hsmpool_certificate_end_timestamp_seconds 1800000000",
            "hsmpool_leader 0",
            "hsmpool_request_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("hsmpool_member_reachable{") && !text.contains("hsmpool_member_lag_entries{"), "{text}");
        let all = metrics.availability();
        assert_eq!((all.module_calls, all.module_failed, all.module_retried), (10 + MODULES_MAX as u64 + 5, 1, 2));
        assert_eq!((all.requests, all.sent_elsewhere), (1, 0));
    }

    #[test]
    fn members_are_told_while_this_node_leads_and_no_longer() {
        let metrics = Metrics::default();
        let level = |node, zone: &str, reachable, lag| MemberLevel { node, zone: zone.to_string(), reachable, lag };
        metrics.set_members(vec![level(2, "b", Some(true), 0), level(3, "c", Some(false), 7), level(4, "a", None, 9)]);
        let text = metrics.text(Levels::default()).unwrap();
        for line in [
            "hsmpool_member_reachable{node=\"2\",zone=\"b\"} 1\n",
            "hsmpool_member_reachable{node=\"3\",zone=\"c\"} 0\n",
            "hsmpool_member_lag_entries{node=\"2\",zone=\"b\"} 0\n",
            "hsmpool_member_lag_entries{node=\"3\",zone=\"c\"} 7\n",
            "hsmpool_member_lag_entries{node=\"4\",zone=\"a\"} 9\n",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("reachable{node=\"4\""), "it is not known yet:\n{text}");
        metrics.set_members(vec![level(2, "b", Some(true), 0)]);
        assert!(!metrics.text(Levels::default()).unwrap().contains("node=\"3\""), "it was removed");
        metrics.set_members(Vec::new());
        assert!(!metrics.text(Levels::default()).unwrap().contains("hsmpool_member_lag_entries{"));
    }
}
