//! The file itself: what it exports, what it needs, what a C program sees, how cleanly it goes.

use std::collections::BTreeSet;
use std::path::Path;

use crate::harness::{LABEL, Module, PIN, Token, promises};

promises!(a_c_program_leaves_no_leak_and_no_invalid_access);

/// Our header: each function is declared at the beginning of a line.
const HEADER: &str = include_str!("../../include/hsmpool.h");

#[test]
fn only_c_functions_are_exported_and_all_of_them() {
    let token = Token::fresh(Module::Ours);
    let listing = token.run("nm").words("--dynamic --defined-only --format=just-symbols").arg(Module::Ours.path()).ok().text();
    let exported: BTreeSet<&str> = listing.split_whitespace().collect();
    let declared = HEADER.lines().filter_map(|line| line.strip_prefix("CK_RV ")?.split_once('(')).map(|(name, _)| name);
    assert_eq!(exported, declared.collect(), "what is exported, and what the header declares");
    assert_eq!(exported.len(), 104, "the functions of PKCS#11 3.2");
}

#[test]
fn the_file_stays_loaded_and_needs_only_the_c_library() {
    let token = Token::fresh(Module::Ours);
    let dynamic = token.run("readelf").args(["--dynamic", "--wide"]).arg(Module::Ours.path()).ok().text();
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
    let needed = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    let needed = needed.filter_map(|line| line.split_once('[')).map(|(_, name)| name.trim_end_matches(']').to_owned());
    let system = ["libc.so", "libgcc_s.so", "libm.so", "libpthread.so", "libdl.so", "ld-linux"];
    let foreign: Vec<_> = needed.filter(|name| !system.iter().any(|known| name.starts_with(known))).collect();
    assert!(foreign.is_empty(), "the host must bring {foreign:?}");
    let segments = token.run("readelf").args(["--segments", "--wide"]).arg(Module::Ours.path()).ok().text();
    let stack = segments.lines().find(|line| line.contains("GNU_STACK")).expect("a linked object states its stack");
    assert!(!stack.contains("RWE"), "the stack is executable: {stack}");
}

/// Compiles the client with this header and runs it under valgrind.
fn a_c_program_leaves_no_leak_and_no_invalid_access(token: &Token) {
    token.write("client.c", include_str!("clients/client.c"));
    let header = crate::harness::file_of_package("/usr/include/p11-kit-1/p11-kit/pkcs11.h", "libp11-kit-dev");
    let include = header.parent().expect("a file is in a directory");
    compile(token, "cc", "client.c", &["-include", "pkcs11.h"], include);
    let valgrind = token.run("valgrind").words("--quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite");
    let output = valgrind.arg(token.file("client")).arg(token.module.path()).args([LABEL, PIN]).ok();
    output.says("signed").never_says("Invalid").never_says("definitely lost");
}

#[test]
fn our_header_serves_c_and_cpp() {
    let token = Token::initialised(Module::Ours);
    token.write("client.c", include_str!("clients/client.c"));
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    for compiler in ["cc", "c++"] {
        compile(&token, compiler, "client.c", &["-Wall", "-Wextra", "-Werror", "-include", "hsmpool.h"], &include);
        token.run_file(&token.file("client")).arg(token.module.path()).args([LABEL, PIN]).ok().says("signed");
    }
}

/// As far as helgrind sees locks: `clients/helgrind.supp` says what it does not.
#[test]
fn threads_of_a_c_program_misuse_no_mutex() {
    let token = Token::initialised(Module::Ours);
    token.write("client.c", include_str!("clients/threads.c"));
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    compile(&token, "cc", "client.c", &["-Wall", "-Wextra", "-Werror", "-include", "hsmpool.h"], &include);
    let suppressions = token.write("helgrind.supp", include_str!("clients/helgrind.supp"));
    let helgrind = token.run("valgrind").words("--quiet --tool=helgrind --error-exitcode=9");
    let helgrind = helgrind.arg(format!("--suppressions={}", suppressions.display()));
    helgrind.arg(token.file("client")).arg(token.module.path()).arg(PIN).ok().says("5 threads are done");
}

fn compile(token: &Token, compiler: &str, source: &str, options: &[&str], include: &Path) {
    let language = if compiler == "c++" { "c++" } else { "c" };
    token.run(compiler).args(options).arg("-I").arg(include).args(["-g", "-x", language, source]).words("-o client -ldl").ok();
}
