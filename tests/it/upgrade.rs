//! A pool goes from one version to the next, node by node, while applications of both versions work on it.

use std::path::{Path, PathBuf};

use crate::harness::{LABEL, Module, PIN, SO_PIN, Server, Token, child, foreign, wait_until};
use crate::pool::{LABELS, SECONDS, acknowledged, acknowledged_labels};

const ZONES: [&str; 3] = ["a", "b", "c"];

/// A pool whose nodes are now of this, now of that version.
struct Pool {
    token: Token,
    older: PathBuf,
}

impl Pool {
    fn directory(&self) -> PathBuf {
        self.token.file("pool")
    }

    fn newer() -> PathBuf {
        Module::Ours.path().parent().expect("a file has a directory").to_path_buf()
    }

    /// `hsmpool pool …` of the version whose programs are there; it starts nodes of its own version.
    fn command(&self, version: &Path, words: &str) -> crate::harness::Run {
        let (name, rest) = words.split_once(' ').unwrap_or((words, ""));
        self.token.run_file(&version.join("hsmpool")).args(["pool", name, "--local"]).arg(self.directory()).words(rest)
    }

    fn is_well(&self) -> bool {
        let status = self.command(&Self::newer(), "status --json").end();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON was asked for");
        let nodes = status["nodes"].as_array().expect("a list of nodes");
        nodes.len() == ZONES.len() && nodes.iter().all(|node| node["health"] == "well")
    }

    /// An application that loads the module of a version, and names what it makes so.
    fn application(&self, version: &Path, names: &str) -> Server {
        let run = child(&self.token, "work on a pool").env("HSMPOOL_IT_MODULE", version.join("libhsmpool.so"));
        let run = run.env("HSMPOOL_CONF", self.directory().join("hsmpool.toml")).env(SECONDS, "600").env(LABELS, names);
        run.deadline(std::time::Duration::from_secs(900)).spawn()
    }

    /// Restarts each node as one of another version, and waits each time until both applications have gone on.
    fn roll(&self, version: &Path, applications: &[&Server]) {
        for zone in ZONES {
            self.command(version, "stop").args(["--zone", zone]).ok();
            let before: Vec<usize> = applications.iter().map(|application| acknowledged(application)).collect();
            let goes_on = |at: usize| acknowledged(applications[at]) >= before[at] + 10;
            wait_until("both applications go on without a zone", || (0..applications.len()).all(goes_on));
            self.command(version, "start").args(["--zone", zone]).ok();
            wait_until("all nodes are well", || self.is_well());
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.command(&Self::newer(), "stop").end_somehow();
    }
}

#[test]
#[ignore = "builds an older version, which takes its time: tests/run --full"]
fn a_pool_is_upgraded_and_taken_back_under_load_of_both_versions() {
    let pool = Pool { token: Token::by_default(""), older: foreign("older") };
    pool.command(&pool.older, "create --zones a,b,c").ok().says("The pool runs: 3 nodes");
    let configuration = pool.directory().join("hsmpool.toml");
    let tool = || pool.token.pkcs11_tool().env("HSMPOOL_CONF", &configuration);
    tool().args(["--init-token", "--slot-index", "0", "--label", LABEL, "--so-pin", SO_PIN]).ok();
    tool()
        .args(["--init-pin", "--token-label", LABEL, "--login", "--login-type", "so"])
        .args(["--so-pin", SO_PIN, "--pin", PIN])
        .ok();
    let (old, new) = (pool.application(&pool.older, "old"), pool.application(&Pool::newer(), "new"));
    wait_until("both applications work", || acknowledged(&old) > 0 && acknowledged(&new) > 0);
    pool.roll(&Pool::newer(), &[&old, &new]);
    pool.roll(&pool.older, &[&old, &new]);
    pool.roll(&Pool::newer(), &[&old, &new]);
    pool.token.write(crate::pool::ENOUGH, "");
    let mut lines = Vec::new();
    for application in [old, new] {
        let ended = application.wait();
        assert!(ended.status.success(), "{}", ended.all());
        lines.extend(acknowledged_labels(&ended.text()));
    }
    pool.token.write(crate::pool::ACKNOWLEDGED, lines.join("\n"));
    for version in [&pool.older, &Pool::newer()] {
        let check = child(&pool.token, "check what the pool acknowledged");
        check.env("HSMPOOL_IT_MODULE", version.join("libhsmpool.so")).env("HSMPOOL_CONF", &configuration).ok();
    }
}
