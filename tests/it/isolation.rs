//! What a node may do that is cut off from its pool, and who is told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cryptoki_sys::*;

use crate::abi::Mechanism;
use crate::harness::{Jobs, LABEL, PIN, free_port, loaded_module, wait_until};
use crate::pool::{ENOUGH, LocalPool, acknowledged, goes_on};
use crate::processes::key_pair;

pub const JOBS: Jobs = &[("sign until it is enough", sign)];

/// A pool whose nodes have these lines in their configuration, with a token.
fn pool_with(lines: &str) -> LocalPool {
    let pool = LocalPool::create("");
    pool.command("stop").ok();
    for node in 1..=3 {
        let file = pool.directory().join(format!("node{node}/hsmpoold.toml"));
        let text = std::fs::read_to_string(&file).expect("was laid out");
        std::fs::write(&file, format!("{lines}\n{text}")).expect("the node's file");
    }
    pool.command("start").ok();
    wait_until("all nodes are well", || pool.health() == ["well", "well", "well"]);
    pool.make_token();
    pool
}

fn ready(pool: &LocalPool) -> String {
    let said = pool.operations(1, "/ready", "\n\r\n");
    said.rsplit("\r\n\r\n").next().unwrap_or_default().to_string()
}

#[test]
fn a_cut_off_node_uses_keys_for_its_time_then_stops_and_comes_back_by_itself() {
    let pool = pool_with("isolated_use = 8");
    let application = pool.application("sign until it is enough").spawn();
    wait_until("the application works", || acknowledged(&application) > 0);
    pool.signal(libc::SIGKILL, 1);
    pool.signal(libc::SIGKILL, 2);
    wait_until("the node says that it is cut off", || ready(&pool).starts_with("degraded: isolated"));
    goes_on(&application, 5);
    let nodes = pool.nodes();
    let left = nodes[0]["isolated_seconds_left"].as_u64();
    assert!(nodes[0]["health"] == "isolated" && left.is_some_and(|left| left <= 8), "{}", nodes[0]);
    pool.command("status").fails().says("isolated (").says("no quorum");
    wait_until("the node stops", || ready(&pool).starts_with("stopped"));
    assert_eq!(pool.health(), ["stopped", "down", "down"]);
    let before = acknowledged(&application);
    pool.operations(1, "/metrics", "hsmpool_key_use_left_seconds 0\n");
    assert_eq!(pool.health(), ["stopped", "down", "down"]);
    assert_eq!(acknowledged(&application), before, "no key is used");
    // Told once it was looked at, which is now and then.
    pool.operations(1, "/events", "keys are not used");
    // The call that waits meanwhile does not fail.
    pool.command("start").ok();
    goes_on(&application, 5);
    wait_until("all nodes are well", || pool.health() == ["well", "well", "well"]);
    pool.token().write(ENOUGH, "");
    let ended = application.wait();
    assert!(ended.status.success() && ended.text().contains("no call failed"), "{}", ended.all());
}

#[test]
fn who_destroys_a_key_is_told_which_node_had_not_heard_of_it() {
    let pool = pool_with("isolated_use = 600");
    let user = ["--token-label", LABEL, "--login", "--pin", PIN];
    pool.pkcs11_tool().args(user).words("--keypairgen --key-type EC:prime256v1 --id 01 --label k").ok();
    pool.signal(libc::SIGSTOP, 2);
    pool.pkcs11_tool().args(user).words("--delete-object --type privkey --id 01").ok();
    pool.command("status").end().says("node 3 had not applied a revocation");
    let told = "node 3 of zone c had not applied a revocation when it was acknowledged here";
    let by = pool.nodes().iter().find(|node| node["unreached"] == serde_json::json!([3])).and_then(|node| node["node"].as_u64());
    pool.operations(by.expect("one of the others has acknowledged it"), "/events", told);
    pool.signal(libc::SIGCONT, 2);
    wait_until("all nodes are well", || pool.health() == ["well", "well", "well"]);
    wait_until("node 3 has applied it", || pool.nodes().iter().all(|node| node["unreached"] == serde_json::json!([])));
    pool.command("status").ok().never_says("revocation");
}

#[test]
fn events_are_posted_to_a_receiver_that_comes_late_and_a_dead_one_keeps_nobody() {
    let (late, dead) = (free_port(), free_port());
    let pool = pool_with(&format!("webhooks = [\"http://127.0.0.1:{dead}/\", \"http://127.0.0.1:{late}/hook\"]"));
    let received = receive(late);
    let kinds = |node: u64| -> Vec<String> {
        let received = received.lock().expect("the receiver's");
        let of_node = received.iter().filter(|event| event["node"] == node);
        of_node.map(|event| event["kind"].as_str().unwrap_or_default().to_string()).collect()
    };
    wait_until("the first events", || (1..=3).all(|node| kinds(node).first().is_some_and(|kind| kind == "start")));
    pool.signal(libc::SIGKILL, 1);
    pool.signal(libc::SIGKILL, 2);
    let isolated = |event: &serde_json::Value| event["kind"] == "contact" && event["told"].to_string().contains("isolated");
    wait_until("the last events", || received.lock().expect("the receiver's").iter().any(isolated));
    let numbers = || -> Vec<u64> {
        let received = received.lock().expect("the receiver's");
        received.iter().filter(|event| event["node"] == 1).filter_map(|event| event["number"].as_u64()).collect()
    };
    let all = numbers();
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>(), "each once, in order");
    // One more may come at any time: that the other nodes are gone, or who leads.
    wait_until("each is counted", || {
        let count = numbers().len();
        pool.operations(1, "/metrics", "# EOF").contains(&format!("hsmpool_events_posted_total {count}\n"))
    });
}

#[test]
fn the_leader_tells_that_a_zone_is_lost_and_that_it_is_back() {
    let port = free_port();
    let received = receive(port);
    let pool = pool_with(&format!("webhooks = [\"http://127.0.0.1:{port}/hook\"]"));
    let leader = pool.nodes().iter().find_map(|node| node["leader"].as_u64()).expect("one leads");
    let (lost, zone) = (leader % 3 + 1, ["a", "b", "c"][(leader % 3) as usize]);
    let posted = |what: &str| {
        let told = format!("node {lost} of zone {zone} {what}");
        let received = received.lock().expect("the receiver's");
        received.iter().filter(|event| event["node"] == leader && event["kind"] == "heard" && event["told"] == told).count()
    };
    let member = |what: &str, level: u64| format!("hsmpool_member_{what}{{node=\"{lost}\",zone=\"{zone}\"}} {level}\n");
    let says = |line: &str| wait_until(line, || pool.operations(leader, "/metrics", "# EOF").contains(line));
    says(&member("reachable", 1));
    says(&member("lag_entries", 0));
    assert_eq!(posted("is not heard of"), 0);
    pool.signal(libc::SIGKILL, lost as usize - 1);
    pool.operations(leader, "/events", &format!("node {lost} of zone {zone} is not heard of"));
    wait_until("the receiver is told", || posted("is not heard of") == 1);
    says(&member("reachable", 0));
    pool.command("start").ok();
    pool.operations(leader, "/events", &format!("node {lost} of zone {zone} is heard of again"));
    wait_until("the receiver is told again", || posted("is heard of again") == 1);
    says(&member("reachable", 1));
    assert_eq!(posted("is not heard of"), 1, "once");
    let followers = (1..=3).filter(|node| *node != leader);
    followers.for_each(|node| assert!(!pool.operations(node, "/metrics", "# EOF").contains("hsmpool_member_reachable{")));
}

#[test]
fn with_session_consistency_an_application_sees_what_it_did_at_any_node() {
    let pool = pool_with("");
    let file = pool.directory().join("pool.toml");
    let text = std::fs::read_to_string(&file).expect("was laid out");
    std::fs::write(&file, format!("consistency = \"session\"\n{text}")).expect("the pool's file");
    let application = pool.application("work on a pool").env(crate::pool::SECONDS, "5").spawn();
    wait_until("the application works", || acknowledged(&application) > 0);
    pool.signal(libc::SIGKILL, 0);
    let ended = application.wait();
    assert!(ended.status.success() && ended.text().contains("none failed"), "{}", ended.all());
    let list_slots = || pool.pkcs11_tool().arg("--list-slots").env("HSMPOOL_LOG", "error");
    list_slots().ok().says(LABEL);
    std::fs::write(&file, format!("consistency = \"eventual\"\n{text}")).expect("the pool's file");
    let refused = list_slots().end();
    // With a file that is refused the pool could not be stopped either.
    std::fs::write(&file, text).expect("the pool's file");
    assert_eq!(refused.status.code(), Some(1), "{}", refused.all());
    refused.says("pool.toml").says("unknown variant `eventual`").never_says(LABEL);
}

/// A receiver of events, for as long as the test runs: what it was sent.
fn receive(port: u16) -> Arc<Mutex<Vec<serde_json::Value>>> {
    let received: Arc<Mutex<Vec<serde_json::Value>>> = Arc::default();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let of_thread = received.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let received = of_thread.clone();
            std::thread::spawn(move || answer(connection, &received));
        }
    });
    received
}

/// All requests of one connection.
fn answer(mut connection: TcpStream, received: &Mutex<Vec<serde_json::Value>>) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let whole = text.split_once("\r\n\r\n").and_then(|(head, body)| {
            let line =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_string));
            let len: usize = line?.trim().parse().ok()?;
            (body.len() >= len).then(|| (head.to_string(), body[..len].to_string()))
        });
        match whole {
            Some((head, body)) => {
                assert!(head.starts_with("POST /hook ") && head.to_ascii_lowercase().contains("application/json"), "{head}");
                received.lock().expect("the test's").push(serde_json::from_str(&body).expect("JSON was promised"));
                if connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                    return;
                }
                bytes.clear();
            }
            None => match connection.read(&mut buffer) {
                Ok(len) if len > 0 => bytes.extend_from_slice(&buffer[..len]),
                _ => return,
            },
        }
    }
}

/// Signs again and again; every call must succeed, however long it waits.
fn sign() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let (_, private) = key_pair(&session, "signer");
    let (begun, mut out) = (Instant::now(), std::io::stdout());
    while !std::path::Path::new(ENOUGH).exists() {
        assert!(begun.elapsed() < Duration::from_secs(180), "the test says when it is enough");
        session.sign(&Mechanism::plain(CKM_ECDSA), private, &[7; 32]).expect("signs");
        writeln!(out, "ack sign.").and_then(|()| out.flush()).expect("the test reads us");
    }
    println!("no call failed");
}
