//! GnuTLS: p11tool makes and lists, certtool certifies, gnutls-serv serves; OpenSSL verifies.

use crate::harness::{LABEL, PIN, Run, Token, free_port, promises_everywhere, wait_until};

promises_everywhere!(tokens_and_keys_are_listed, certtool_certifies_what_openssl_verifies, gnutls_serves_what_openssl_verifies);

fn p11tool(token: &Token) -> Run {
    token.run("p11tool").arg("--provider").arg(token.module.path()).env("GNUTLS_PIN", PIN)
}

fn ec_key(token: &Token) {
    let make = "--login --generate-privkey=ecdsa --curve=secp256r1 --label=gnutls --id=01 --outfile public.pem";
    p11tool(token).words(make).arg(format!("pkcs11:token={LABEL}")).ok();
}

fn tokens_and_keys_are_listed(token: &Token) {
    p11tool(token).arg("--list-tokens").ok().says(&format!("token={LABEL}"));
    ec_key(token);
    let all = format!("pkcs11:token={LABEL}");
    p11tool(token).words("--login --list-privkeys").arg(&all).ok().says("object=gnutls").says("CKA_NEVER_EXTRACTABLE");
    p11tool(token).words("--list-all").arg(&all).ok().says("Public key").never_says("Private key");
    p11tool(token).arg("--list-mechanisms").arg(&all).ok().says("CKM_ECDSA").says("CKM_RSA_PKCS");
}

/// A self-signed certificate of a key in the token, checked by OpenSSL.
fn certificate(token: &Token) {
    ec_key(token);
    token.write("template", "cn = localhost\ndns_name = localhost\nexpiration_days = 30\ntls_www_server\nsigning_key\n");
    let make = "--generate-self-signed --template template --load-pubkey public.pem --outfile certificate.pem --load-privkey";
    token.run("certtool").arg("--provider").arg(token.module.path()).words(make).arg(token.uri("gnutls", "private")).ok();
    token.openssl("verify -CAfile certificate.pem certificate.pem").ok().says("OK");
}

fn certtool_certifies_what_openssl_verifies(token: &Token) {
    certificate(token);
    // The certificate goes into the token and comes back the same.
    let write = "--login --write --load-certificate certificate.pem --label=gnutls --id=01";
    p11tool(token).words(write).arg(format!("pkcs11:token={LABEL}")).ok();
    p11tool(token).words("--export --outfile again.pem").arg(format!("pkcs11:token={LABEL};object=gnutls;type=cert")).ok();
    let fingerprint = |file: &str| token.openssl(&format!("x509 -noout -fingerprint -sha256 -in {file}")).ok().text();
    assert_eq!(fingerprint("again.pem"), fingerprint("certificate.pem"));
}

fn gnutls_serves_what_openssl_verifies(token: &Token) {
    certificate(token);
    let port = free_port();
    let serve = format!("--http --port {port} --x509certfile certificate.pem --x509keyfile");
    let provider = token.run("gnutls-serv").arg("--provider").arg(token.module.path());
    let _server = provider.words(&serve).arg(token.uri("gnutls", "private")).spawn();
    wait_until("gnutls-serv listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let client =
        format!("s_client -connect 127.0.0.1:{port} -CAfile certificate.pem -verify_return_error -verify_hostname localhost");
    token.openssl(&client).input("Q\n").ok().says("Verify return code: 0 (ok)");
}
