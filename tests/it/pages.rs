//! The commands of docs/pool.md and docs/operations.md, run as they stand there, in their order, with three zones on this machine.

use std::net::TcpListener;
use std::time::Duration;

use crate::harness::{Module, Token, free_port};
use crate::readme::blocks;

/// What a page's story is made of.
enum Part {
    /// A block of the page, by its name.
    Block(&'static str),
    /// What the page leaves to other machines, or to a bad day.
    Elsewhere(&'static str),
    /// What must have been said by then.
    Says(&'static str),
}
use Part::{Block, Elsewhere, Says};

const POOL: &str = include_str!("../../docs/pool.md");
const POOL_STORY: &[Part] = &[
    Block("try"),
    Says("3 of 3 nodes are well"),
    Says("node 1 of zone a is stopped"),
    Says("2 of 3 nodes are well"),
    Says("node 1 of zone a runs"),
    Elsewhere("hsmpool pool stop --local /tmp/pool; rm -r /tmp/pool; unset HSMPOOL_CONF"),
    Block("from"),
    Says("kept"),
];

const OPERATIONS: &str = include_str!("../../docs/operations.md");
const OPERATIONS_STORY: &[Part] = &[
    Block("layout"),
    Block("check"),
    Says("root key can be read"),
    // The three machines, each with its daemon.
    Elsewhere("hsmpool pool start --local pool"),
    Block("form"),
    Says("3 of 3 nodes are well"),
    Block("watch"),
    Says("ready"),
    Says("# EOF"),
    Block("leader"),
    Says("node 2 leads"),
    Block("certificates"),
    Says("node 3 of zone c shows its new certificate"),
    Block("revoke"),
    Says("node 3 of zone c goes by it"),
    Elsewhere("hsmpool pool stop --local pool --zone b"),
    Block("replace"),
    Says("node 2 is removed"),
    Elsewhere("hsmpool pool start --local pool"),
    Block("promote"),
    Says("node 4 votes"),
    Block("peer"),
    Says("node 5 of zone b follows once its application runs"),
    // Its application was never started on this machine.
    Elsewhere("hsmpool pool remove-node --dir pool 5 --yes"),
    Elsewhere("hsmpool pool stop --local pool"),
    Block("force-new"),
    Says("node 1 of zone a does not answer"),
    Says("Node 3 of zone c has"),
    Elsewhere(
        "hsmpool pool start --local pool --zone c && timeout 60 sh -c 'until hsmpool pool status --dir pool | grep leader; do :; done'",
    ),
    Block("anew"),
    Says("node 6 of zone a follows once it runs"),
    Says("1 of 2 nodes are well"),
];

/// The first of three ports in a row that nobody uses.
fn three_ports() -> u16 {
    for _ in 0..1000 {
        let first = free_port();
        if (first..=first.saturating_add(2)).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("no three free ports in a row");
}

/// The page's addresses on this machine: `10.0.2.5:7100` and the two ports after it.
fn on_this_machine(script: &str) -> String {
    let mut script = script.to_string();
    for machine in ["10.0.1.5", "10.0.2.5", "10.0.3.5", "10.0.2.6", "10.0.2.7", "10.0.1.6"] {
        let port = three_ports();
        for plus in 0..3 {
            script = script.replace(&format!("{machine}:{}", 7100 + plus), &format!("127.0.0.1:{}", port + plus));
        }
    }
    script
}

fn story_comes_true(page: &'static str, story: &[Part], pool: &str) {
    let token = Token::by_default("");
    let blocks = blocks(page);
    let told: Vec<&str> = story.iter().filter_map(|part| if let Block(name) = part { Some(*name) } else { None }).collect();
    assert_eq!(told, blocks.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "every block is run, in the page's order");
    let mut script = format!("trap 'hsmpool pool stop --local {pool} || true' EXIT\nunset HSMPOOL_CONF\n");
    for part in story {
        match part {
            Block(name) => script += blocks.iter().find(|(known, _)| known == name).expect("was compared above").1,
            Elsewhere(line) => script += &format!("{line}\n"),
            Says(_) => {}
        }
    }
    // The survivor's machine is the one of zone c.
    let script = script.replace("/etc/hsmpool/", "pool/node3/");
    let script = on_this_machine(&script).replace("/tmp/pool", &token.file("pool").display().to_string());
    let script = token.write("story.sh", script);
    let programs = Module::Ours.path().parent().expect("a file has a directory").display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let mut said = token
        .run_as_ordinary_user("bash")
        .args(["-e", "-u", "-x", "-o", "pipefail"])
        .arg(script)
        .env("PATH", path)
        .deadline(Duration::from_secs(300))
        .ok();
    for part in story {
        if let Says(text) = part {
            said = said.says(text);
        }
    }
}

#[test]
fn the_commands_of_the_pool_s_page_work() {
    story_comes_true(POOL, POOL_STORY, "/tmp/pool");
}

#[test]
fn the_commands_of_the_operations_page_work() {
    story_comes_true(OPERATIONS, OPERATIONS_STORY, "pool");
}
