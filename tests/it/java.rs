//! Java's SunPKCS11: keytool fills the keystore, a program signs, wraps and agrees with its keys; OpenSSL checks.

use crate::harness::{PIN, Run, Token, promises_everywhere};

promises_everywhere!(keytool_makes_keys_that_openssl_certifies, a_program_signs_decrypts_and_encrypts);

fn configuration(token: &Token) -> std::path::PathBuf {
    let module = token.module.path();
    token.write("java.cfg", format!("name = token\nlibrary = {}\nslotListIndex = 0\n", module.display()))
}

/// keytool on the token's keystore; the command word and its options come first.
fn keytool(token: &Token, command: &str) -> Run {
    let provider = "-keystore NONE -storetype PKCS11 -providerClass sun.security.pkcs11.SunPKCS11 -providerArg";
    token.run("keytool").words(command).words(provider).arg(configuration(token)).args(["-storepass", PIN])
}

fn keytool_makes_keys_that_openssl_certifies(token: &Token) {
    for (alias, kind) in [("rsa", "-keyalg RSA -keysize 2048"), ("ec", "-keyalg EC -groupname secp256r1")] {
        keytool(token, &format!("-genkeypair -alias {alias} {kind} -dname CN=java-{alias} -validity 30")).ok();
        keytool(token, &format!("-exportcert -rfc -alias {alias} -file {alias}.pem")).ok();
        token.openssl(&format!("verify -check_ss_sig -CAfile {alias}.pem {alias}.pem")).ok().says("OK");
    }
    keytool(token, "-list").ok().says("PrivateKeyEntry").says("2 entries");
    // A later process still has them.
    keytool(token, "-certreq -alias ec -file request.pem").ok();
    token.openssl("req -verify -noout -in request.pem").ok().says("verify OK");
}

fn a_program_signs_decrypts_and_encrypts(token: &Token) {
    keytool(token, "-genkeypair -alias rsa -keyalg RSA -keysize 2048 -dname CN=java -validity 30").ok();
    keytool(token, "-genkeypair -alias ec -keyalg EC -groupname secp256r1 -dname CN=java -validity 30").ok();
    token.write("data", "attack at dawn");
    for alias in ["rsa", "ec"] {
        keytool(token, &format!("-exportcert -rfc -alias {alias} -file {alias}.pem")).ok();
        let public = token.openssl(&format!("x509 -noout -pubkey -in {alias}.pem")).ok().stdout;
        token.write(&format!("{alias}.pub"), public);
    }
    token.openssl("pkeyutl -encrypt -pubin -inkey rsa.pub -in data -out sealed").ok();
    let program = token.write("Client.java", include_str!("clients/Client.java"));
    token.run("java").arg(program).arg(configuration(token)).arg(PIN).ok().says("AES round trip holds");
    token.openssl("dgst -sha256 -verify rsa.pub -signature rsa.signature data").ok().says("Verified OK");
    token.openssl("dgst -sha256 -verify ec.pub -signature ec.signature data").ok().says("Verified OK");
    assert_eq!(token.read("opened"), b"attack at dawn");
}
