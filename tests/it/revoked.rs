//! Certificates that are taken back under a running pool: stolen keys of applications, the disk of a node that was removed, lists that are damaged.

use std::path::{Path, PathBuf};

use hsmpool::wire::{Connection, Files, Hello, Identity, Purpose};

use crate::harness::{LABEL, wait_until};
use crate::pool::LocalPool;
use crate::pool_clients::{PATIENCE, facts, place_of_peers, refusal};

fn cert(pool: &LocalPool, words: &str) -> crate::harness::Run {
    let (verb, rest) = words.split_once(' ').expect("a verb and its arguments");
    pool.token().hsmpool("cert").args([verb, "--dir"]).arg(pool.directory()).words(rest)
}

/// Somebody with these files, who knows of no list.
fn identity(pool: &LocalPool, certificate: &Path) -> Identity {
    let (certificate, key) = (certificate.to_path_buf(), certificate.with_extension("key"));
    let ca = pool.directory().join("ca/ca.pem");
    Identity::of(&Files { pool: facts(pool).0, ca, certificate, key, crl: None }).expect("the files are well-formed")
}

/// The application's own files, and no way but TLS.
fn over_tls_as(pool: &LocalPool, name: &str) {
    let file = pool.directory().join("pool.toml");
    let text = std::fs::read_to_string(&file).expect("the pool's file");
    let mut text = text.replace("client.pem", &format!("{name}.pem")).replace("client.key", &format!("{name}.key"));
    for number in 1..=4 {
        text = text.replace(&format!("\"unix:{}\", ", pool.directory().join(format!("node{number}/node.sock")).display()), "");
    }
    assert!(!text.contains("unix:"), "{text}");
    std::fs::write(&file, text).expect("the pool's file");
}

fn json(output: &crate::harness::Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).expect("JSON was asked for")
}

#[test]
fn a_stolen_key_is_shut_out_at_once_also_over_what_is_open_and_a_new_one_is_let_in() {
    let pool = LocalPool::create("");
    pool.make_token();
    let (id, place) = facts(&pool);
    let file = |name: &str| pool.directory().join(name);
    cert(&pool, &format!("issue --client web --token {LABEL}")).ok();
    // The thief has one that was replaced since, and a copy of the one in use.
    let stolen: Vec<PathBuf> = ["first", "second"].iter().map(|name| pool.token().file(&format!("{name}.pem"))).collect();
    let steal = |to: &Path| {
        std::fs::copy(file("web.pem"), to).expect("was issued");
        std::fs::copy(file("web.key"), to.with_extension("key")).expect("was issued");
    };
    steal(&stolen[0]);
    cert(&pool, "rotate --client web").ok();
    steal(&stolen[1]);
    let open = |certificate: &Path| {
        let address = format!("tcp:{place}").parse().expect("an address");
        let opened =
            Connection::open(&address, Some(&identity(&pool, certificate)), &Hello::new(id, Purpose::Client, 0), PATIENCE);
        opened.expect("it is good")
    };
    let is_answered = |connection: &mut Connection| connection.call(1, &[0xff], PATIENCE).is_ok();
    let mut thieves: Vec<Connection> = stolen.iter().map(|certificate| open(certificate)).collect();
    let mut other = open(&file("client.pem"));
    assert!(thieves.iter_mut().chain([&mut other]).all(is_answered));

    let said = cert(&pool, "revoke --client web").ok().says("client web: the certificate").says("list 2 is").text();
    for zone in ["1 of zone a goes by it", "2 of zone b goes by it", "3 of zone c goes by it"] {
        assert!(said.contains(zone), "{said}");
    }
    assert_eq!(said.matches("is revoked").count(), 2, "{said}");
    assert!(!thieves.iter_mut().any(is_answered), "open connections end");
    assert!(is_answered(&mut other), "others go on");
    for certificate in &stolen {
        let asked = || refusal(&place, &identity(&pool, certificate), id, Purpose::Client, &[0xff]).to_lowercase();
        wait_until("the node says why", || asked().contains("revoked"));
    }
    // A program that knows nothing of us sees the same list.
    let crl = file("ca/crl.pem");
    pool.token().run("openssl").words("crl -noout -CAfile").arg(file("ca/ca.pem")).arg("-in").arg(&crl).ok().says("verify OK");
    let judged = |name: &str| {
        let run = pool.token().run("openssl").words("verify -crl_check -CAfile").arg(file("ca/ca.pem"));
        run.arg("-CRLfile").arg(&crl).arg(file(name)).end()
    };
    judged("client.pem").says("OK");
    judged("web.pem").says("certificate revoked");

    // The application gets a new one, and works by it; a thief of that is shut out by the next list.
    over_tls_as(&pool, "web");
    pool.pkcs11_tool().words("--list-slots").end().never_says(LABEL);
    cert(&pool, "rotate --client web").ok();
    pool.pkcs11_tool().words("--list-slots").ok().says(LABEL);
    let told = json(&cert(&pool, "revoke --json --certificate").arg(file("web.pem")).ok());
    assert_eq!((told["number"].as_u64(), told["added"].as_u64(), told["complete"].as_bool()), (Some(3), Some(1), Some(true)));
    assert!(told["nodes"].as_array().is_some_and(|nodes| nodes.iter().all(|node| node["state"] == "taken")), "{told:#}");
    pool.pkcs11_tool().words("--list-slots").end().never_says(LABEL);
    cert(&pool, "revoke --client nobody").fails().says("client nobody has no certificate");
    assert_eq!(pool.health(), ["well", "well", "well"]);
}

#[test]
fn a_removed_node_s_disk_opens_nothing_and_its_list_reaches_those_that_were_down() {
    let pool = LocalPool::create("");
    pool.make_token();
    let (id, _) = facts(&pool);
    pool.command("add-node --zone b").ok();
    over_tls_as(&pool, "client");
    pool.pkcs11_tool().words("--list-slots").ok().says(LABEL);
    pool.command("stop --zone c").ok();
    let said = pool.command("remove-node 4 --yes").ok().says("its certificate is revoked, by list 2").text();
    assert!(said.contains("node 3 of zone c does not tell") && !said.contains("node 1"), "{said}");
    let peers = place_of_peers(&pool);
    let disk = identity(&pool, &pool.directory().join("removed-node4/node.pem"));
    wait_until("the disk's certificate is refused", || {
        refusal(&peers, &disk, id, Purpose::Peer, &[0xff]).to_lowercase().contains("revoked")
    });
    // The one that was down begins with the new list.
    pool.command("start --zone c").ok();
    wait_until("all nodes are well", || pool.health() == ["well", "well", "well"]);
    cert(&pool, "revoke --node 4").ok().says("they were before").says("node 3 of zone c goes by it");
    // A node that is still there is shut out until it has another one, and the rest goes on.
    cert(&pool, "revoke --node 2").ok().says("node 2 is shut out until it shows another one");
    wait_until("the others are without it", || pool.health()[0] == "well" && pool.health()[1] != "well");
    pool.pkcs11_tool().words("--list-slots").ok().says(LABEL);
    cert(&pool, "rotate --node 2").ok();
    wait_until("it is back", || pool.health() == ["well", "well", "well"]);
}

#[test]
fn a_node_does_not_begin_without_its_list_and_goes_on_with_the_one_that_it_has() {
    let pool = LocalPool::create("");
    let (id, _) = facts(&pool);
    let list = pool.directory().join("node1/crl.pem");
    let first = std::fs::read(&list).expect("was laid out");
    cert(&pool, "issue --client web").ok();
    cert(&pool, "revoke --client web").ok().says("node 1 of zone a goes by it");
    let (place, web) = (facts(&pool).1, identity(&pool, &pool.directory().join("web.pem")));
    let is_shut_out = || refusal(&place, &web, id, Purpose::Client, &[0xff]).to_lowercase().contains("revoked");
    let good = std::fs::read(&list).expect("was laid out");
    std::fs::write(&list, &good[..good.len() / 2]).expect("ours");
    pool.signal(libc::SIGHUP, 0);
    pool.operations(1, "/events", "reading revoked certificates from");
    std::fs::write(&list, &first).expect("ours");
    pool.signal(libc::SIGHUP, 0);
    pool.operations(1, "/events", "it is an older one");
    std::fs::remove_file(&list).expect("ours");
    pool.signal(libc::SIGHUP, 0);
    wait_until("the client is refused", is_shut_out);
    pool.command("stop --zone a").ok();
    pool.command("start --zone a").fails().says("crl.pem").says("No such file");
    let check = || pool.token().hsmpool("node check --config").arg(pool.directory().join("node1/hsmpoold.toml"));
    check().fails().says("crl.pem");
    std::fs::write(&list, &good).expect("ours");
    check().ok();
    pool.command("start --zone a").ok();
    wait_until("the client is refused again", is_shut_out);
}
