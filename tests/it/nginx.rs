//! nginx: the master loads the key, forks its workers, and each worker signs handshakes after the fork.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{LABEL, Module, PIN, Token, free_port, promises_everywhere, wait_until};

promises_everywhere!(workers_sign_after_the_fork);

/// As Debian runs it: the master is root, the workers are not and may not open the store.
#[test]
fn workers_of_another_user_sign_after_the_fork() {
    let tokens = [Token::initialised(Module::Ours), Token::by_default("")];
    tokens[1].initialise(LABEL);
    for token in &tokens {
        make_readable(token);
        serve(token, "www-data");
    }
}

/// What the workers may see of the test's directory. The store itself is not among it.
pub fn make_readable(token: &Token) {
    std::fs::set_permissions(token.directory(), std::fs::Permissions::from_mode(0o755)).expect("the test owns it");
    std::fs::set_permissions(token.file("tokens"), std::fs::Permissions::from_mode(0o700)).expect("the test owns it");
}

const HANDSHAKES_MAX: u32 = 200;

fn workers_sign_after_the_fork(token: &Token) {
    serve(token, "root");
}

/// `user` is whose the workers are where the master is root.
fn serve(token: &Token, user: &str) {
    token.as_user().words("--keypairgen --key-type EC:prime256v1 --id 01 --label server").ok();
    let request = "req -new -x509 -engine pkcs11 -keyform engine -sha256 -days 30 -subj /CN=localhost -out certificate.pem";
    let request = token.openssl_engine(request).args(["-addext", "subjectAltName=DNS:localhost"]);
    request.arg("-key").arg(token.uri("server", "private")).ok();

    let port = free_port();
    token.write("nginx.conf", configuration(token, port, user));
    let nginx = token.run("nginx").env("OPENSSL_CONF", token.engine_configuration());
    let server = nginx.words("-e stderr -c nginx.conf -p").arg(format!("{}/", token.directory().display())).spawn();
    wait_until("nginx listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());

    // Each connection is a full handshake; the kernel spreads them over the workers.
    let mut workers = BTreeSet::new();
    let mut handshakes = 0;
    while workers.len() < 2 && handshakes < HANDSHAKES_MAX {
        let url = format!("https://localhost:{port}/");
        let page = token.run("curl").words("--silent --show-error --cacert certificate.pem").arg(url).ok().text();
        workers.insert(page.trim().to_owned());
        handshakes += 1;
    }
    assert_eq!(workers.len(), 2, "both workers answered within {HANDSHAKES_MAX} handshakes: {workers:?}");
    let output = server.terminate();
    assert!(!output.all().contains("exited on signal"), "a worker crashed:\n{}", output.all());
    // The parent's token is unharmed.
    token.as_user().words("--list-objects --type privkey").ok().says("server");
}

fn configuration(token: &Token, port: u16, user: &str) -> String {
    let user = if token.run("id").arg("-u").ok().text().trim() == "0" { format!("user {user};") } else { String::new() };
    let key = format!("engine:pkcs11:pkcs11:token={};object=server;type=private;pin-value={PIN}", LABEL);
    format!(
        "{user} daemon off; worker_processes 2; pid nginx.pid; ssl_engine pkcs11;\n\
         events {{ worker_connections 64; accept_mutex off; }}\n\
         http {{\n  access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;\n\
         \x20 server {{\n    listen 127.0.0.1:{port} ssl reuseport; ssl_session_cache off; ssl_session_tickets off;\n\
         \x20   ssl_certificate certificate.pem;\n    ssl_certificate_key \"{key}\";\n    location / {{ return 200 \"$pid\\n\"; }}\n  }}\n}}\n"
    )
}
