//! The README's snippets, run as they stand there: text that nobody runs goes stale.

use crate::harness::{Module, Token, free_port};

const README: &str = include_str!("../../README.md");

/// The snippets after the first one, the snippets that each needs before it, and what the run says when it worked.
const SNIPPETS: &[(&str, &[&str], &str)] = &[
    ("pkcs11-tool", &[], "Verified OK"),
    ("openssl", &[], "certificate.pem: OK"),
    ("p11-kit", &[], "object=server"),
    ("java", &[], "PrivateKeyEntry"),
    ("ssh", &[], "ECDSA"),
    ("nginx", &["openssl"], "served from the token"),
];

macro_rules! snippets {
    ($($test:ident = $name:literal),+ $(,)?) => {
        mod ours {
            $(#[test] fn $test() { super::snippet_works(crate::harness::Module::Ours, $name) })+
        }
        mod softhsm {
            $(#[test] fn $test() { super::snippet_works(crate::harness::Module::SoftHsm, $name) })+
        }
        const TESTED: &[&str] = &[$($name),+];
    };
}
snippets!(pkcs11_tool = "pkcs11-tool", openssl = "openssl", p11_kit = "p11-kit", java = "java", ssh = "ssh", nginx = "nginx");

/// Every block of a page that starts with "```sh NAME".
pub fn blocks(page: &'static str) -> Vec<(&'static str, &'static str)> {
    let parts = page.split("```sh ").skip(1);
    let block = |part: &'static str| {
        let (name, rest) = part.split_once('\n').expect("a block has lines");
        (name, rest.split("```").next().expect("a split has a first part"))
    };
    parts.map(block).collect()
}

fn block(name: &str) -> &'static str {
    let found = blocks(README).into_iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("the README has no snippet {name}")).1
}

fn snippet_works(module: Module, name: &str) {
    let token = Token::fresh(module);
    let (_, needs, expected) = SNIPPETS.iter().find(|(known, ..)| *known == name).expect("every tested snippet is in the table");
    let blocks = ["token"].iter().chain(*needs).chain([&name]).map(|name| block(name)).collect::<Vec<_>>();
    // The README's port may be taken on this machine. A snippet that fails half-way must not leave its nginx behind.
    let script = blocks.join("\n").replace("8443", &free_port().to_string());
    let script = format!("trap '[ ! -f nginx.pid ] || kill $(cat nginx.pid) || true' EXIT\n{script}");
    let path = token.write("snippet.sh", script);
    token
        .run_as_ordinary_user("bash")
        .args(["-e", "-u", "-o", "pipefail"])
        .arg(path)
        .env("MODULE", module.path())
        .ok()
        .says(expected);
}

#[test]
fn every_snippet_is_tested_and_names_the_module_that_is_built() {
    let untested: Vec<_> =
        blocks(README).into_iter().map(|(name, _)| name).filter(|name| *name != "token" && !TESTED.contains(name)).collect();
    assert!(untested.is_empty(), "{untested:?}");
    assert!(README.contains("export MODULE=$PWD/target/release/libhsmpool.so"));
}
