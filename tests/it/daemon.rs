//! `hsmpoold` as its supervisor sees it: signals, and what it tells systemd. And what the commands do where they cannot print.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{Module, wait_until};
use crate::pool::LocalPool;

/// The serial number of a node's certificate, as OpenSSL is shown it over TLS.
fn shown(pool: &LocalPool) -> String {
    let file = std::fs::read_to_string(pool.directory().join("node2/hsmpoold.toml")).expect("was laid out");
    let line = file.lines().find_map(|line| line.strip_prefix("clients = ")).expect("nodes of a local pool listen for clients");
    let place = line.split("tcp:").nth(1).and_then(|rest| rest.split('"').next()).expect("over TCP");
    // It shows no certificate of its own, so that the node ends the connection after it has shown its.
    let said = pool.token().run("openssl").args(["s_client", "-tls1_3", "-connect", place]).end();
    pool.token().write("shown.pem", said.stdout);
    serial(pool, Path::new("shown.pem"))
}

fn serial(pool: &LocalPool, file: &Path) -> String {
    pool.token().run("openssl").words("x509 -noout -serial -in").arg(file).ok().text().trim().to_string()
}

fn end_in_metrics(pool: &LocalPool) -> u64 {
    let name = "hsmpool_certificate_end_timestamp_seconds ";
    let said = pool.operations(2, "/metrics", "# EOF");
    let line = said.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {said}"));
    line.parse().expect("a number")
}

#[test]
fn a_daemon_takes_a_new_certificate_at_sighup_and_keeps_the_old_one_when_the_new_one_is_bad() {
    let pool = LocalPool::create("");
    let file = |node: u64, name: &str| pool.directory().join(format!("node{node}")).join(name);
    let both = |node| ["node.pem", "node.key"].map(|name| std::fs::read(file(node, name)).expect("was laid out"));
    let put = |pair: &[Vec<u8>; 2]| {
        std::fs::write(file(2, "node.pem"), &pair[0]).expect("ours");
        std::fs::write(file(2, "node.key"), &pair[1]).expect("ours");
    };
    let (first, first_end) = (both(2), end_in_metrics(&pool));
    // The command lets the node read it; SIGHUP brings the first one back.
    pool.token().hsmpool("cert rotate --node 2 --days 500 --dir").arg(pool.directory()).ok().says("shows its new certificate");
    let second = serial(&pool, &file(2, "node.pem"));
    assert!(end_in_metrics(&pool) > first_end);
    wait_until("the second one is shown", || shown(&pool) == second);
    put(&first);
    let first = serial(&pool, &file(2, "node.pem"));
    assert_ne!(first, second);
    pool.signal(libc::SIGHUP, 1);
    wait_until("the first one is shown", || shown(&pool) == first);
    assert_eq!(end_in_metrics(&pool), first_end);
    // Another node's; then no certificate at all.
    put(&both(1));
    pool.signal(libc::SIGHUP, 1);
    pool.operations(2, "/events", "not for node 2");
    assert_eq!(shown(&pool), first);
    std::fs::write(file(2, "node.pem"), "nothing").expect("ours");
    pool.signal(libc::SIGHUP, 1);
    pool.operations(2, "/events", "holds no certificate");
    assert_eq!((shown(&pool), end_in_metrics(&pool)), (first, first_end));
    assert_eq!(pool.health(), ["well", "well", "well"]);
    // It goes on with what it has, and does not begin with it.
    pool.command("stop --zone b").ok();
    put(&both(1));
    pool.command("start --zone b").fails().says("not for node 2");
}

#[test]
fn a_daemon_tells_systemd_that_it_is_ready_and_that_it_lives() {
    let pool = LocalPool::create("");
    pool.command("stop --zone b").ok();
    let path = pool.token().file("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("the test directory is writable, and its name short");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
    let daemon = pool.token().run_file(&Module::Ours.path().with_file_name("hsmpoold"));
    let daemon = daemon.arg("--config").arg(pool.directory().join("node2/hsmpoold.toml")).env("NOTIFY_SOCKET", &path).spawn();
    let mut told: Vec<String> = Vec::new();
    let mut wait_for = |what: &str, times: usize| {
        let begun = Instant::now();
        while told.iter().filter(|line| *line == what).count() < times {
            let mut bytes = [0; 256];
            let len = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{what} does not come ({error}): {told:?}"));
            told.extend(String::from_utf8_lossy(&bytes[..len]).lines().map(str::to_string));
            assert!(begun.elapsed() < Duration::from_secs(30), "{what} does not come: {told:?}");
        }
    };
    wait_for("READY=1", 1);
    // Not once, but as long as it lives.
    wait_for("WATCHDOG=1", 3);
    let ended = daemon.terminate();
    assert!(ended.status.success(), "{}", ended.all());
    wait_for("STOPPING=1", 1);
}

#[test]
fn a_watcher_that_announces_a_body_and_sends_none_holds_up_nobody() {
    use std::io::Write;
    let pool = LocalPool::create("");
    let file = std::fs::read_to_string(pool.directory().join("node2/hsmpoold.toml")).expect("was laid out");
    let line = file.lines().find_map(|line| line.strip_prefix("operations = ")).expect("nodes of a local pool have the port");
    let mut held = std::net::TcpStream::connect(line.trim_matches('"')).expect("the node listens");
    held.write_all(b"GET /live HTTP/1.1\r\nHost: node\r\nContent-Length: 2000\r\n\r\n").expect("the node reads");
    let begun = Instant::now();
    assert!(pool.operations(2, "/live", "live\n").starts_with("HTTP/1.1 200"));
    pool.command("stop --zone b").ok();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_refusal_is_json_where_it_is_asked_for_and_an_answer_that_cannot_be_printed_is_an_error() {
    let pool = LocalPool::create("");
    let output = pool.token().hsmpool("token delete nobody --json").fails();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON was asked for");
    assert_eq!((output.status.code(), told["error"]["code"].as_str()), (Some(1), Some("CKR_TOKEN_NOT_PRESENT")), "{told:#}");
    let output = output.says("hsmpool: no token has");
    assert!(told["error"]["message"].as_str().is_some_and(|message| output.all().contains(message)), "{told:#}");
    for words in ["pool status --json --dir pool", "config", "mechanisms", "completions bash"] {
        let program = Module::Ours.path().with_file_name("hsmpool").display().to_string();
        let output = pool.token().run("bash").args(["-c", &format!("{program} {words} >/dev/full")]).end();
        assert_eq!(output.status.code(), Some(1), "{words}: {}", output.all());
        output.says("the answer cannot be printed").never_says("panicked");
    }
    pool.token().hsmpool("token init --so-pin 12345678 --pin 123456 --label").arg("x".repeat(33)).fails().says("1 to 32 bytes");
}
