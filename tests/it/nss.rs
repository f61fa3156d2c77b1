//! NSS: modutil registers the module, certutil makes a key and a certificate in the token; OpenSSL verifies.

use crate::harness::{LABEL, PIN, Token, promises_everywhere};

promises_everywhere!(modutil_lists_the_token, certutil_makes_a_certificate_in_the_token, certutil_signs_a_request);

/// An NSS database of its own that knows the module.
fn database(token: &Token) {
    std::fs::create_dir_all(token.file("db")).expect("the test directory is writable");
    token.run("certutil").words("-N -d sql:db --empty-password").ok();
    token.run("modutil").words("-dbdir sql:db -force -add module -libfile").arg(token.module.path()).ok();
    token.write("pin", PIN);
    token.write("noise", [7; 64]);
}

fn modutil_lists_the_token(token: &Token) {
    database(token);
    token.run("modutil").words("-dbdir sql:db -list module").ok().says(LABEL);
}

fn certutil_makes_a_certificate_in_the_token(token: &Token) {
    database(token);
    for (name, kind) in [("rsa", "-k rsa -g 2048"), ("ec", "-k ec -q nistp256")] {
        let make = format!("-S -d sql:db -h {LABEL} -f pin -z noise -x -s CN=nss-{name} -t CTu,, -v 12 -n {name} {kind}");
        token.run("certutil").words(&make).ok();
        let pem = token.run("certutil").words(&format!("-L -d sql:db -h {LABEL} -f pin -a -n {LABEL}:{name}")).ok().stdout;
        token.write("certificate.pem", pem);
        token.openssl("verify -check_ss_sig -CAfile certificate.pem certificate.pem").ok().says("OK");
        token.openssl("x509 -noout -subject -in certificate.pem").ok().says(&format!("nss-{name}"));
    }
    token.run("certutil").words(&format!("-K -d sql:db -h {LABEL} -f pin")).ok().says("rsa").says("ec");
    token.as_user().words("--list-objects --type privkey").ok().says("RSA").says("EC");
}

fn certutil_signs_a_request(token: &Token) {
    database(token);
    let request = format!("-R -d sql:db -h {LABEL} -f pin -z noise -s CN=request -k rsa -g 2048 -a -o request.pem");
    token.run("certutil").words(&request).ok();
    token.openssl("req -verify -noout -in request.pem").ok().says("verify OK");
}
