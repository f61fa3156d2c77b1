//! A pool of real processes behind the module: zones die and come back while an application works, and no call fails.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cryptoki_sys::*;

use crate::abi::{Mechanism, Template};
use crate::harness::{Jobs, LABEL, PIN, Run, SO_PIN, Server, Token, child, full, loaded_module, wait_until};
use crate::processes::key_pair;

pub const JOBS: Jobs =
    &[("work on a pool", work), ("check what the pool acknowledged", check), ("one life of a session", one_life)];

/// How long `work` works; less if `ENOUGH` appears.
pub const SECONDS: &str = "HSMPOOL_IT_SECONDS";
/// How `work` names what it makes.
pub const LABELS: &str = "HSMPOOL_IT_LABELS";
/// What `check` looks for: the lines that `work` printed.
pub const ACKNOWLEDGED: &str = "acknowledged.txt";
/// A file that ends `one_life` and `work`.
pub const ENOUGH: &str = "enough";
const ZONES: [&str; 3] = ["a", "b", "c"];

/// A pool of three zones on this machine, stopped at the end.
pub struct LocalPool {
    token: Token,
}

impl LocalPool {
    pub fn create(more: &str) -> Self {
        Self { token: Token::over_a_pool(more) }
    }

    /// One that is still to be made.
    pub fn to_be() -> Self {
        Self { token: Token::over_a_pool_to_be() }
    }

    pub fn token(&self) -> &Token {
        &self.token
    }

    /// What applications of the pool are configured with.
    pub fn configuration(&self) -> PathBuf {
        self.directory().join("hsmpool.toml")
    }

    pub fn directory(&self) -> PathBuf {
        self.token.file("pool")
    }

    pub fn command(&self, words: &str) -> Run {
        self.token.local_pool(words)
    }

    pub fn application(&self, job: &str) -> Run {
        child(&self.token, job).env("HSMPOOL_CONF", self.configuration())
    }

    pub fn pkcs11_tool(&self) -> Run {
        self.token.pkcs11_tool().env("HSMPOOL_CONF", self.configuration())
    }

    pub fn make_token(&self) {
        self.make_token_of(LABEL, SO_PIN, PIN);
    }

    pub fn make_token_of(&self, label: &str, so_pin: &str, pin: &str) {
        self.pkcs11_tool().args(["--init-token", "--slot-index", "0", "--label", label, "--so-pin", so_pin]).ok();
        let so = ["--token-label", label, "--login", "--login-type", "so", "--so-pin", so_pin, "--init-pin", "--pin", pin];
        self.pkcs11_tool().args(so).ok();
    }

    /// Sends a signal to the node of a zone: nodes are numbered in the order of their zones.
    pub fn signal(&self, signal: libc::c_int, zone: usize) {
        let pid = self.process(zone).expect("the node was started");
        // SAFETY: takes numbers only; the process is one that this pool has started.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "the node of zone {} runs", ZONES[zone]);
    }

    fn process(&self, zone: usize) -> Option<libc::pid_t> {
        let text = std::fs::read_to_string(self.directory().join(format!("node{}/pid", zone + 1))).ok()?;
        text.trim().parse().ok()
    }

    /// The command, with the pool in its configuration.
    pub fn hsmpool(&self, words: &str) -> Run {
        self.token.hsmpool(words).env("HSMPOOL_CONF", self.configuration())
    }

    pub fn nodes(&self) -> Vec<serde_json::Value> {
        // Its exit code tells whether a quorum is well.
        let status = self.command("status --json").end();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON was asked for");
        status["nodes"].as_array().expect("a list of nodes").clone()
    }

    pub fn health(&self) -> Vec<String> {
        self.nodes().iter().map(|node| node["health"].as_str().unwrap_or_default().to_string()).collect()
    }

    /// Whether each node has applied all that any of them knows to be committed.
    pub fn have_all_applied(&self) -> bool {
        let nodes = self.nodes();
        let of = |what: &str| nodes.iter().map(|node| node[what].as_u64()).collect::<Vec<_>>();
        // Of a node that does not answer there is neither.
        let newest = of("log_committed").into_iter().max().flatten();
        newest.is_some() && of("log_applied").into_iter().all(|applied| applied >= newest)
    }

    /// What a node answers in plain HTTP, up to where `until` comes.
    pub fn operations(&self, node: u64, path: &str, until: &str) -> String {
        let file = std::fs::read_to_string(self.directory().join(format!("node{node}/hsmpoold.toml"))).expect("was laid out");
        let line = file.lines().find_map(|line| line.strip_prefix("operations = ")).expect("nodes of a local pool have the port");
        let mut http = TcpStream::connect(line.trim_matches('"')).expect("the node listens");
        http.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
        write!(http, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").expect("the node reads");
        let (mut said, mut buffer, begun) = (String::new(), [0; 4096], Instant::now());
        while !said.contains(until) {
            // A stream of events never ends by itself.
            assert!(begun.elapsed() < Duration::from_secs(30), "{path} does not say {until:?}:\n{said}");
            let len = http.read(&mut buffer).unwrap_or_else(|error| panic!("{path} does not say {until:?} ({error}):\n{said}"));
            assert_ne!(len, 0, "{path} does not say {until:?}:\n{said}");
            said += &String::from_utf8_lossy(&buffer[..len]);
        }
        said
    }

    /// Who leads, if all that answer agree.
    fn leader(&self) -> Option<u64> {
        let told: Vec<_> =
            self.nodes().iter().filter(|node| node.get("leader").is_some()).map(|node| node["leader"].as_u64()).collect();
        told.first().copied().flatten().filter(|leader| told.iter().all(|other| *other == Some(*leader)))
    }
}

impl Drop for LocalPool {
    fn drop(&mut self) {
        for zone in 0..ZONES.len() {
            // One that was stopped in its tracks must go on to be able to end; one that is dead is of no concern.
            if let Some(pid) = self.process(zone) {
                // SAFETY: takes numbers only. A node of ours that ended moments ago has left its number unused.
                unsafe { libc::kill(pid, libc::SIGCONT) };
            }
        }
    }
}

/// The lines of what an application was told to be done.
pub fn acknowledged_labels(said: &str) -> Vec<String> {
    said.lines().filter(|line| line.starts_with("ack ") && line.ends_with('.')).map(str::to_string).collect()
}

/// How much an application says it has done.
pub fn acknowledged(application: &Server) -> usize {
    acknowledged_labels(&application.said_so_far()).len()
}

/// Waits until the application has done so much more.
pub fn goes_on(application: &Server, more: usize) {
    let before = acknowledged(application);
    wait_until("the application goes on", || acknowledged(application) >= before + more);
}

/// Signatures are promised in less than 100 ms while a zone is lost. On a machine that many share a test can tell a stall from none; `hsmpool chaos`
/// measures against the promise.
const KEY_USE_MILLISECONDS_MAX: u64 = 2000;

/// What `work` says of the signature that took longest.
fn longest_signature_milliseconds(said: &str) -> u64 {
    let told = said.split("the longest signature took ").nth(1).and_then(|rest| rest.split_whitespace().next());
    told.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no longest signature: {said}"))
}

#[test]
fn no_call_fails_while_each_zone_is_killed_and_brought_back() {
    let pool = LocalPool::create("");
    pool.make_token();
    let application = pool.application("work on a pool").env(SECONDS, "600").deadline(Duration::from_secs(900)).spawn();
    wait_until("the application works", || acknowledged(&application) > 0);
    for zone in (0..ZONES.len()).cycle().take(if full() { 12 } else { 3 }) {
        pool.signal(libc::SIGKILL, zone);
        goes_on(&application, 10);
        pool.command("start").args(["--zone", ZONES[zone]]).ok();
        // The node is one of the pool's again before the next one dies.
        wait_until("all nodes are well", || pool.health() == ["well", "well", "well"]);
    }
    // The work ends when the test says so, and not by a clock of its own that the kills would have to keep up with.
    pool.token.write(ENOUGH, "");
    let ended = application.wait();
    assert!(ended.status.success(), "{}", ended.all());
    let said = ended.text();
    let longest = longest_signature_milliseconds(&said);
    assert!(longest < KEY_USE_MILLISECONDS_MAX, "a signature took {longest} ms: {said}");
    let lines = acknowledged_labels(&said);
    assert!(lines.len() > 20, "{said}");
    pool.token.write(ACKNOWLEDGED, lines.join("\n"));
    pool.application("check what the pool acknowledged").ok();
    wait_until("all nodes are well", || pool.health() == ["well", "well", "well"]);
}

#[test]
fn a_silent_zone_costs_no_call_and_nothing_that_the_application_holds() {
    let pool = LocalPool::create("");
    pool.make_token();
    let application = pool.application("one life of a session").spawn();
    wait_until("the application works", || acknowledged(&application) > 0);
    for zone in [0, 1, 2] {
        pool.signal(libc::SIGSTOP, zone);
        goes_on(&application, 200);
        pool.signal(libc::SIGCONT, zone);
        wait_until("all nodes are well", || pool.health() == ["well", "well", "well"]);
    }
    pool.token.write(ENOUGH, "");
    let ended = application.wait();
    assert!(
        ended.status.success() && ended.text().contains("the session lived"),
        "{}; login, session object and its uses outlived each zone",
        ended.all()
    );
}

#[test]
fn an_embedded_store_becomes_a_pool_with_its_keys() {
    let embedded = Token::by_default("");
    embedded.initialise(LABEL);
    embedded.as_user().words("--keypairgen --key-type EC:prime256v1 --id 07 --label kept").ok();
    let serial = |listed: String| listed.lines().find(|line| line.contains("serial num")).map(str::to_string);
    let before = serial(embedded.pkcs11_tool().arg("--list-slots").ok().text());
    let pool = LocalPool::create(&format!("--from {}", embedded.file("tokens").display()));
    assert_eq!(serial(pool.pkcs11_tool().arg("--list-slots").ok().text()), before, "the token is the same one");
    pool.token.write("data", "data");
    // The store's own node is dead: the others have its keys.
    pool.signal(libc::SIGKILL, 0);
    let sign = "--sign --id 07 --mechanism ECDSA-SHA256 --signature-format openssl --input-file data --output-file signature";
    pool.pkcs11_tool().args(["--token-label", LABEL, "--login", "--pin", PIN]).words(sign).ok();
    pool.pkcs11_tool().words("--read-object --type pubkey --id 07 --output-file public.der").ok();
    pool.token.openssl("dgst -sha256 -verify public.der -keyform DER -signature signature data").ok().says("Verified OK");
}

#[test]
fn a_minority_uses_keys_and_says_that_it_is_cut_off() {
    let pool = LocalPool::create("");
    pool.make_token();
    let user = ["--token-label", LABEL, "--login", "--pin", PIN];
    pool.pkcs11_tool().args(user).words("--keypairgen --key-type EC:prime256v1 --id 01 --label k").ok();
    pool.signal(libc::SIGKILL, 1);
    pool.signal(libc::SIGKILL, 2);
    wait_until("the survivor says that it is cut off", || pool.health() == ["isolated", "down", "down"]);
    let status = pool.command("status").end().says("no quorum of the pool's nodes is well");
    assert_eq!(status.status.code(), Some(3), "it answers, and no quorum is well");
    pool.pkcs11_tool().words("--read-object --type pubkey --id 01 --output-file public.der").ok();
    pool.command("start").ok();
    pool.pkcs11_tool().args(user).words("--keypairgen --key-type EC:prime256v1 --id 02 --label l").ok();
    wait_until("all nodes are well", || pool.health() == ["well", "well", "well"]);
}

#[test]
fn nodes_come_lead_and_go() {
    let pool = LocalPool::create("");
    pool.make_token();
    pool.command("add-node --zone b").ok().says("node 4 of zone b follows");
    pool.command("promote 4").ok();
    pool.operations(1, "/events", "voters [1, 2, 3, 4]");
    wait_until("all nodes are well", || pool.health() == ["well"; 4]);
    for heir in [2, 3, 1] {
        pool.command(&format!("transfer-leader {heir}")).ok();
        wait_until("all know the new leader", || pool.leader() == Some(heir));
        pool.operations(1, "/events", &format!("node {heir} leads"));
    }
    pool.command("remove-node 4 --yes").ok();
    wait_until("all nodes are well", || pool.health() == ["well", "well", "well"]);
    pool.command("add-node --zone b").ok().says("node 5 of zone b follows");
    pool.command("remove-node 5 --yes").ok();
    let user = ["--token-label", LABEL, "--login", "--pin", PIN];
    pool.pkcs11_tool().args(user).words("--keypairgen --key-type EC:prime256v1 --id 01 --label k").ok();
    assert!(pool.operations(1, "/live", "live").starts_with("HTTP/1.1 200"));
    assert!(pool.operations(1, "/ready", "ready").starts_with("HTTP/1.1 200"));
    // Whichever node was quick enough to make it.
    let made = "hsmpool_requests_total{verb=\"GeneratePair\",verdict=\"done\"}";
    assert!([1, 2, 3].iter().any(|node| pool.operations(*node, "/metrics", "# EOF").contains(made)), "one of them counted it");
}

#[test]
fn a_node_is_checked_before_it_runs_and_while_it_runs() {
    let pool = LocalPool::create("");
    pool.make_token();
    let file = |name: &str| pool.directory().join(name);
    let check = || pool.hsmpool("node check --json --config").arg(file("node2/hsmpoold.toml"));
    let results = |output: crate::harness::Output| {
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON was asked for");
        let rows = told["checks"].as_array().expect("a list of checks").clone();
        let wrong: Vec<String> = rows
            .iter()
            .filter(|row| row["result"] == "wrong")
            .map(|row| row["told"].as_str().unwrap_or_default().to_string())
            .collect();
        assert_eq!(
            (wrong.is_empty(), output.status.code()),
            (told["can_run"] == true, Some(i32::from(!wrong.is_empty()))),
            "{told:#}"
        );
        (rows.iter().map(|row| row["told"].to_string()).collect::<String>(), wrong)
    };
    let (told, wrong) = results(check().end());
    assert!(wrong.is_empty() && told.contains("is this node's, which runs") && told.contains("answers as a node does"), "{told}");
    pool.command("stop").ok();
    let (told, wrong) = results(check().end());
    assert!(wrong.is_empty() && told.contains("is free") && told.contains("the root key is its own"), "{told}");
    // Another node's certificate, another pool's root key, a key that others may read, a port that somebody else has.
    let certificate = std::fs::read(file("node2/node.pem")).expect("was laid out");
    std::fs::set_permissions(file("node2/node.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("ours");
    assert!(results(check().end()).1.concat().contains("chmod 600"));
    std::fs::set_permissions(file("node2/node.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
    for part in ["node.pem", "node.key"] {
        std::fs::copy(file("node1").join(part), file("node2").join(part)).expect("ours");
    }
    assert!(results(check().end()).1.concat().contains("not for node 2"));
    std::fs::write(file("node2/node.pem"), certificate).expect("ours");
    assert!(!results(check().end()).1.is_empty(), "a certificate and the key of another");
    let key = std::fs::read_to_string(file("node2/hsmpool.key")).expect("was laid out");
    let other: String = key.chars().map(|digit| if digit == '1' { '2' } else { '1' }).take(64).collect();
    std::fs::write(file("node2/hsmpool.key"), other).expect("ours");
    assert!(results(check().end()).1.concat().contains("its key file is another one's"));
    std::fs::write(file("node2/hsmpool.key"), key).expect("ours");
    let text = std::fs::read_to_string(file("node2/hsmpoold.toml")).expect("was laid out");
    let line = text.lines().find_map(|line| line.strip_prefix("operations = ")).expect("nodes of a local pool have the port");
    let _taken = std::net::TcpListener::bind(line.trim_matches('"')).expect("the node is stopped");
    assert!(results(check().end()).1.concat().contains("is used by another program"));
}

#[test]
fn commands_answer_in_json_and_say_what_has_ended() {
    let pool = LocalPool::create("");
    let json = |words: &str| -> serde_json::Value {
        let output = pool.command(&format!("{words} --json")).ok();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{words}: {error}: {}", output.all()))
    };
    assert_eq!(json("stop --zone b")["nodes"][0]["stopped"], true);
    assert_eq!(json("start --zone b")["nodes"][0]["started"], true);
    assert_eq!(json("add-node --zone c")["node"], 4);
    assert_eq!(json("promote 4")["voters"], serde_json::json!([1, 2, 3, 4]));
    assert_eq!(json("transfer-leader 2")["leader"], 2);
    assert_eq!(json("remove-node 4 --yes")["zone"], "c");
    assert_eq!(json("status")["quorum"], true);
    pool.command("stop").ok();
    // A node that ends at once is told with the last that it said, not waited for.
    std::fs::write(pool.directory().join("node1/node.pem"), "no certificate").expect("ours");
    pool.command("start --zone a").fails().says("has ended").says("holds no certificate");
    assert_eq!(json("force-new 3 --yes")["left_behind"][0]["node"], 1);
}

#[test]
fn certificates_are_issued_and_renewed_under_a_running_pool() {
    let pool = LocalPool::create("");
    pool.make_token();
    let cert = |words: &str| {
        let (verb, rest) = words.split_once(' ').expect("a verb and its arguments");
        pool.hsmpool("cert").args([verb, "--dir"]).arg(pool.directory()).words(rest)
    };
    // The others are found over TCP, with the certificate alone.
    let file = pool.directory().join("pool.toml");
    let text = std::fs::read_to_string(&file).expect("the pool's file");
    let mut text = text.replace("client.pem", "web.pem").replace("client.key", "web.key");
    for number in 1..=3 {
        text = text.replace(&format!("\"unix:{}\", ", pool.directory().join(format!("node{number}/node.sock")).display()), "");
    }
    assert!(!text.contains("unix:"), "{text}");
    std::fs::write(&file, text).expect("the pool's file");
    cert(&format!("issue --client web --token {LABEL}")).ok().says("web.pem");
    cert("issue --client web").fails().says("is there already");
    cert("issue --client other --token nothing-of-that-name").ok();
    cert("issue --operator alice --days 30").ok().says("good for 30 days");
    let ca = pool.directory().join("ca/ca.pem");
    for name in ["web", "other", "alice"] {
        pool.token
            .run("openssl")
            .words("verify -CAfile")
            .arg(&ca)
            .arg(pool.directory().join(format!("{name}.pem")))
            .ok()
            .says("OK");
    }
    let user = ["--token-label", LABEL, "--login", "--pin", PIN];
    pool.pkcs11_tool().args(user).words("--keypairgen --key-type EC:prime256v1 --id 01 --label k").ok();
    let ended = pool.command("stop --zone b").ok();
    assert!(ended.status.success());
    let said = cert("rotate --days 500").ok().text();
    for zone in ["1 of zone a shows its new certificate, good for 500 days", "3 of zone c shows its new certificate"] {
        assert!(said.contains(zone), "{said}");
    }
    assert!(said.contains("node 2 of zone b has a new certificate for its next start"), "{said}");
    pool.command("start --zone b").ok();
    wait_until("all nodes are well", || pool.health() == ["well", "well", "well"]);
    cert("rotate --node 2 --days 600").ok().says("node 2 of zone b shows its new certificate, good for 600 days");
    cert("rotate --node 7").fails().says("holds no such node");
    cert(&format!("issue --operator bob --token {LABEL}")).fails().says("cannot be used with");
    let read = |name: &str| std::fs::read(pool.directory().join(name)).expect("was issued");
    let (web, operator) = (read("web.pem"), read("operator.pem"));
    cert("rotate --client web --days 20").ok().says("good for 20 days");
    cert("rotate --operator operator --days 20").ok().says("operator.pem");
    cert("rotate --client alice").fails().says("no certificate of client alice");
    assert!(read("web.pem") != web && read("operator.pem") != operator);
    let held_to = pool.token.run("openssl").words("x509 -noout -ext subjectAltName -in").arg(pool.directory().join("web.pem"));
    held_to.ok().says(&format!("/client/web?tokens={LABEL}"));
    pool.pkcs11_tool().args(user).words("--list-objects --id 01").ok().says("k");
    // Whoever may see another token only sees none, and is let in all the same: the spare slot is there.
    let list_slots = || pool.pkcs11_tool().words("--list-slots").ok().says("Available slots");
    list_slots().says(LABEL);
    let other = std::fs::read_to_string(&file).expect("the pool's file").replace("web.", "other.");
    std::fs::write(&file, other).expect("the pool's file");
    list_slots().says("uninitialized").never_says(LABEL);
}

#[test]
fn a_survivor_of_a_lost_quorum_begins_anew_with_its_keys() {
    let pool = LocalPool::create("");
    pool.make_token();
    let user = ["--token-label", LABEL, "--login", "--pin", PIN];
    pool.pkcs11_tool().args(user).words("--keypairgen --key-type EC:prime256v1 --id 01 --label k").ok();
    pool.command("force-new 3 --yes").fails().says("node 3 runs on this machine");
    pool.command("stop --zone c").ok();
    // The other two are a quorum, which an operator is told and a node can ask for.
    pool.command("force-new 3 --yes").fails().says("is in contact with a living quorum");
    // Whatever it has is no beginning of another pool: a part may be in its log alone.
    let addresses = "--address a=h1:7100 --address b=h2:7100 --address c=h3:7100 --from pool/node3/data";
    let other = pool.hsmpool("pool create --zones a,b,c --dir other").words(addresses).fails();
    other.says("is of a pool's node").says("force-new");
    assert!(!pool.token.file("other").exists(), "nothing was made");
    let on_its_machine = || pool.hsmpool("pool force-new --yes --config").arg(pool.directory().join("node3/hsmpoold.toml"));
    on_its_machine().fails().says("is in contact with a living quorum");
    pool.command("stop").ok();
    pool.command("force-new 3").fails().says("Node 3 of zone c has").says("was not typed");
    pool.command("force-new 3 --yes").ok().says("node 1 of zone a does not answer");
    pool.command("start --zone c").ok();
    wait_until("the survivor leads", || pool.leader() == Some(3));
    pool.pkcs11_tool().args(user).words("--list-objects --id 01").ok().says("k");
    pool.pkcs11_tool().args(user).words("--keypairgen --key-type EC:prime256v1 --id 02 --label l").ok();
    // The group is one node that is well, and the others are none of it.
    pool.command("status").ok().says("1 of 1 nodes are well").says("node 1 of zone a is no member of the group");
    assert_eq!(pool.health(), ["left behind", "left behind", "well"]);
    // One that is started all the same serves nobody.
    pool.command("start --zone a").ok();
    wait_until("the old member has heard of it", || pool.health()[0] == "expelled");
    pool.command("remove-node 1 --yes").ok();
    pool.command("remove-node 2 --yes").ok();
    pool.command("status").ok().never_says("left behind");
}

#[test]
fn what_cannot_work_is_refused_with_the_way_out_and_leaves_nothing_behind() {
    let pool = LocalPool::create("");
    let file = |name: &str| pool.directory().join(name);
    let text = std::fs::read_to_string(file("node2/hsmpoold.toml")).expect("was laid out");
    let peers = text.lines().find_map(|line| line.strip_prefix("peers = \"tcp:")).expect("every node has the address");
    pool.command("add-node --zone b --address").arg(peers.trim_matches('"')).fails().says("node 2 of zone b is at");
    pool.command("promote 9").fails().says("node 9 is no member");
    assert!(!file("node4").exists(), "nothing was laid out");
    // Without their sockets the nodes are reached by the certificate alone.
    for number in 1..=3 {
        std::fs::remove_file(file(&format!("node{number}/node.sock"))).expect("the node listens on it");
    }
    wait_until("all nodes are well", || pool.health() == ["well", "well", "well"]);
    std::fs::rename(file("operator.key"), file("kept.key")).expect("was laid out");
    let status = pool.command("status").end().says("nobody knows").says("operator.key is missing").says("cert issue");
    assert_eq!(status.status.code(), Some(1), "the pool may be well");
    std::fs::copy(file("client.key"), file("operator.key")).expect("was laid out");
    std::fs::copy(file("client.pem"), file("operator.pem")).expect("was laid out");
    let status = pool.command("status").end().says("is no operator").never_says("force-new");
    assert_eq!(status.status.code(), Some(1), "the pool may be well");
    pool.command("stop").ok();
    pool.command("add-node --zone b").fails().says("the pool is not running: start it");
    assert!(!file("node4").exists(), "nothing was laid out");
}

#[test]
fn a_store_that_is_in_use_or_missing_becomes_no_pool() {
    let embedded = Token::by_default("");
    embedded.initialise(LABEL);
    let create = |from: &str| {
        let run = embedded.hsmpool("pool create --zones a,b,c --address a=h1:7100 --address b=h2:7100 --address c=h3:7100");
        run.arg("--dir").arg(embedded.file("pool")).arg("--from").arg(embedded.file(from))
    };
    create("nothing").fails().says("holds no store");
    assert!(!embedded.file("nothing").exists() && !embedded.file("pool").exists(), "nothing was made");
    create("tokens").ok().says("1 tokens with").says("take it out of use");
    let wrong = |words: &str| embedded.hsmpool("pool create").arg("--local").arg(embedded.file("other")).words(words).end();
    for words in ["--zones a,,b", "--zones a,b,c --address d=h:7100", "--zones a,b"] {
        assert_eq!(wrong(words).status.code(), Some(2), "{words}: a wrong command line");
    }
    assert!(!embedded.file("other").exists());
}

#[test]
fn tokens_are_listed_by_command_and_a_store_s_commands_say_that_there_is_none() {
    let pool = LocalPool::create("");
    pool.make_token();
    pool.hsmpool("token list").ok().says(LABEL);
    pool.hsmpool("check").fails().says("names a pool");
}

/// Signs, verifies, makes data objects and searches for so long; every call must succeed. Prints what was acknowledged.
fn work() {
    let seconds: u64 = std::env::var(SECONDS).expect("set by the test").parse().expect("a number");
    let names = std::env::var(LABELS).unwrap_or_else(|_| "made".into());
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let (public, private) = key_pair(&session, "signer");
    let (ecdsa, begun) = (Mechanism::plain(CKM_ECDSA), Instant::now());
    let (mut calls, mut longest) = (0_u64, Duration::ZERO);
    let mut out = std::io::stdout();
    for number in 0.. {
        for _ in 0..20 {
            let call = Instant::now();
            let signature = session.sign(&ecdsa, private, &[7; 32]).expect("signs");
            longest = longest.max(call.elapsed());
            session.verify(&ecdsa, public, &[7; 32], &signature).expect("verifies");
            calls += 2;
        }
        let label = format!("{names} {number}");
        let data = Template::new().number(CKA_CLASS, CKO_DATA).truth(CKA_TOKEN, true).bytes(CKA_LABEL, label.as_str());
        session.create(data.bytes(CKA_VALUE, label.as_str())).expect("a data object is made");
        writeln!(out, "ack {label}.").and_then(|()| out.flush()).expect("the test reads us");
        let found = session.find(Template::new().bytes(CKA_LABEL, label.as_str())).expect("searches");
        assert_eq!(found.len(), 1, "{label}: one's own write is seen, once");
        calls += 2;
        if begun.elapsed() > Duration::from_secs(seconds) || std::path::Path::new(ENOUGH).exists() {
            break;
        }
    }
    println!("{calls} calls, none failed; the longest signature took {} ms", longest.as_millis());
}

fn check() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let text = std::fs::read_to_string(ACKNOWLEDGED).expect("written by the test");
    for line in text.lines() {
        let label = line.trim_start_matches("ack ").trim_end_matches('.');
        let found = session.find(Template::new().number(CKA_CLASS, CKO_DATA).bytes(CKA_LABEL, label)).expect("searches");
        assert_eq!(found.len(), 1, "{label} was acknowledged: there, and once");
    }
}

/// One login, one session key and its uses, while zones fall silent.
fn one_life() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let template = Template::key(CKO_SECRET_KEY, CKK_AES).truth(CKA_TOKEN, false).number(CKA_VALUE_LEN, 32);
    let template = template.yes(&[CKA_ENCRYPT, CKA_DECRYPT]);
    let key = session.generate_key(CKM_AES_KEY_GEN, template).expect("a session key");
    let mechanism = Mechanism::with_bytes(CKM_AES_CBC_PAD, &[1; 16]);
    let (begun, first) = (Instant::now(), session.encrypt(&mechanism, key, &[5; 100]).expect("encrypts"));
    let mut out = std::io::stdout();
    while !std::path::Path::new(ENOUGH).exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "the test says when it is enough");
        assert_eq!(session.encrypt(&mechanism, key, &[5; 100]).expect("encrypts"), first, "the same key");
        assert_eq!(session.decrypt(&mechanism, key, &first).expect("decrypts"), [5; 100]);
        writeln!(out, "ack turn.").and_then(|()| out.flush()).expect("the test reads us");
    }
    println!("the session lived");
}
