//! Suites that OpenSC and GnuTLS wrote for SoftHSM, from Debian's source packages, with a module and its `softhsm2-util` in SoftHSM's place. They make
//! their own configurations, by relative paths, in the directory where they run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{Module, Run, Token, foreign, program};

macro_rules! suites {
    ($($name:ident),+ $(,)?) => {
        mod ours {
            $(#[test] fn $name() { super::$name(&crate::harness::Token::fresh(crate::harness::Module::Ours)) })+
        }
        mod softhsm {
            $(#[test] fn $name() { super::$name(&crate::harness::Token::fresh(crate::harness::Module::SoftHsm)) })+
        }
    };
}
suites!(opensc_s_scripts_pass, gnutls_s_programs_pass, gnutls_s_script_passes);

/// OpenSC's script around `pkcs11-tool --test`, which finds errors in SoftHSM.
#[test]
fn opensc_s_own_test_passes_on_ours() {
    opensc(&Token::fresh(Module::Ours), &["test"]);
}

fn opensc_s_scripts_pass(token: &Token) {
    opensc(token, &["allowed-mechanisms", "sign-verify", "sym-crypt-test", "unwrap-wrap-test"]);
}

fn opensc(token: &Token, scripts: &[&str]) {
    let built = foreign("opensc");
    for script in scripts {
        let here = format!("{script}/tests");
        copy_files(&built.join("tests"), &token.file(&here));
        let script = format!("test-pkcs11-tool-{script}.sh");
        let source = token.file(&here).parent().expect("it has one").to_owned();
        let run = suite(token, token.run("bash")).arg("-c").arg(format!("cd {here} && exec bash ./{script}"));
        run.env("BUILD_PATH", &built).env("SOURCE_PATH", source).ok().never_says("====> ERROR");
    }
}

fn gnutls_s_programs_pass(token: &Token) {
    let programs = std::fs::read_dir(foreign("gnutls").join("programs")).expect("they were built").flatten();
    let programs: Vec<PathBuf> = programs.map(|program| program.path()).collect();
    assert_eq!(programs.len(), 16);
    for program in programs {
        suite(token, token.run_file(&program)).ok();
    }
}

fn gnutls_s_script_passes(token: &Token) {
    let built = foreign("gnutls");
    copy_files(&built.join("tests"), &token.file("."));
    for directory in ["scripts", "testpkcs11-certs"] {
        copy_files(&built.join("tests").join(directory), &token.file(directory));
    }
    let run = suite(token, token.run("bash")).words("./testpkcs11.sh softhsm").env("srcdir", ".");
    let run = run.env("top_builddir", &built).env("P11TOOL", program("p11tool")).env("CERTTOOL", program("certtool"));
    run.env("SERV", program("gnutls-serv")).env("CLI", program("gnutls-cli")).ok().says("All smart cards tests succeeded");
}

/// A program of a suite, which finds the module and its `softhsm2-util`, ours under SoftHSM's name.
fn suite(token: &Token, run: Run) -> Run {
    let util = token.file("bin/softhsm2-util");
    std::fs::create_dir_all(token.file("bin")).expect("the test directory is writable");
    let tool = match token.module {
        Module::Ours => token.module.path().with_file_name("hsmpool"),
        _ => program("softhsm2-util"),
    };
    let _ = std::fs::remove_file(&util);
    std::os::unix::fs::symlink(tool, &util).expect("the test directory is writable");
    let path = format!("{}:{}", token.file("bin").display(), std::env::var("PATH").unwrap_or_default());
    let run = run.env("SUITE_MODULE", token.module.path()).env("SUITE_UTIL", util).env("PATH", path);
    run.without_env("SOFTHSM2_CONF").deadline(Duration::from_secs(300))
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the test directory is writable");
    for file in std::fs::read_dir(from).expect("it was built").flatten().filter(|file| file.path().is_file()) {
        std::fs::copy(file.path(), to.join(file.file_name())).expect("the test directory is writable");
    }
}
