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

/// The page's last part is another story.
const BACK_UP: &str = "\n## Back up\n";
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

const BACK_UP_STORY: &[Part] = &[
    Elsewhere(
        "hsmpool pool create --dir pool --zones a,b,c --address a=10.0.1.5:7100 --address b=10.0.2.5:7100 --address c=10.0.3.5:7100",
    ),
    Elsewhere("hsmpool pool start --local pool; hsmpool pool form --dir pool; export HSMPOOL_CONF=pool/hsmpool.toml"),
    Elsewhere("hsmpool token init --label demo --so-pin 12345678 --pin 123456"),
    Elsewhere("tool() { pkcs11-tool --module $MODULE --token-label demo --login --pin 123456 \"$@\"; }"),
    Elsewhere("tool --keypairgen --key-type EC:prime256v1 --id 01 --label old"),
    Elsewhere("tool --read-object --type pubkey --id 01 --output-file public.der"),
    Elsewhere("hsmpool pool stop --local pool --zone c"),
    Block("copy"),
    Elsewhere("hsmpool pool start --local pool --zone c"),
    // A key that the copy has not.
    Elsewhere("tool --keypairgen --key-type EC:prime256v1 --id 02 --label later"),
    // All machines are one here, so that what is archived has the nodes' data in it: they must not change meanwhile.
    Elsewhere("hsmpool pool stop --local pool"),
    Block("keep"),
    // All machines are gone, with what they had.
    Elsewhere("rm -r pool; tar -xzf pool.tar.gz; rm -rf pool/node?/data pool/node?/pid"),
    // The new machine has another address.
    Elsewhere(
        "sed -i 's/10.0.3.5:7100/10.0.3.6:7100/; s/10.0.3.5:7101/10.0.3.6:7101/; s/10.0.3.5:7102/10.0.3.6:7102/' pool/node3/hsmpoold.toml",
    ),
    Block("put-back"),
    Says("the root key is its own: 1 tokens, 2 objects"),
    Block("restore"),
    Says("Node 3 of zone c has"),
    Elsewhere(
        "hsmpool pool start --local pool --zone c && timeout 60 sh -c 'until hsmpool pool status --dir pool | grep leader; do :; done'",
    ),
    Block("others"),
    Says("node 5 of zone b follows once it runs"),
    Elsewhere("hsmpool pool start --local pool"),
    Block("vote"),
    Says("3 of 3 nodes are well"),
    // One that votes since the restoration holds what was restored: the copy's own node is dead.
    Elsewhere("hsmpool pool stop --local pool --zone c"),
    Elsewhere(
        "echo data >data; tool --sign --id 01 --mechanism ECDSA-SHA256 --signature-format openssl --input-file data --output-file signature",
    ),
    Elsewhere("openssl dgst -sha256 -verify public.der -keyform DER -signature signature data"),
    Says("Verified OK"),
    Elsewhere("tool --keypairgen --key-type EC:prime256v1 --id 03 --label new; tool --list-objects | grep 'label: *new'"),
    Elsewhere("if tool --list-objects | grep later; then exit 1; fi"),
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
    for machine in ["10.0.1.5", "10.0.2.5", "10.0.3.5", "10.0.2.6", "10.0.2.7", "10.0.1.6", "10.0.3.6", "10.0.1.8", "10.0.2.8"] {
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
    let script = script.replace("/etc/hsmpool/", "pool/node3/").replace("/var/lib/hsmpool", "pool/node3/data");
    let script = on_this_machine(&script).replace("/tmp/pool", &token.file("pool").display().to_string());
    let script = token.write("story.sh", script);
    let programs = Module::Ours.path().parent().expect("a file has a directory").display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let mut said = token
        .run_as_ordinary_user("bash")
        .args(["-e", "-u", "-x", "-o", "pipefail"])
        .arg(script)
        .env("PATH", path)
        .env("MODULE", Module::Ours.path())
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
    story_comes_true(OPERATIONS.split_once(BACK_UP).expect("it has both parts").0, OPERATIONS_STORY, "pool");
}

#[test]
fn a_pool_is_restored_from_a_backup_by_the_commands_of_the_operations_page() {
    story_comes_true(OPERATIONS.split_once(BACK_UP).expect("it has both parts").1, BACK_UP_STORY, "pool");
}
