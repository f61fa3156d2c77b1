//! The main job: pkcs11-tool makes a key in the token, OpenSSL makes a certificate and serves TLS with it, and clients that
//! know nothing of PKCS#11 verify the handshake. `tests/demo` shows the same to a person.

use crate::harness::{LABEL, Server, Token, free_port, promises_everywhere, wait_until};

promises_everywhere!(rsa_key_serves_tls, ec_key_serves_tls, three_clients_verify_one_server);

/// Key in the token, certificate of it in certificate.pem.
fn key_and_certificate(token: &Token, kind: &str) {
    token.as_user().words("--keypairgen --id 01 --label server --usage-sign --key-type").arg(kind).ok();
    let request = "req -new -x509 -engine pkcs11 -keyform engine -sha256 -days 30 -subj /CN=localhost";
    let run = token.openssl_engine(request).args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    run.arg("-key").arg(token.uri("server", "private")).words("-out certificate.pem").ok();
    // Self-signed: OpenSSL without the engine verifies the token's signature over the certificate.
    token.openssl("verify -CAfile certificate.pem certificate.pem").ok().says("OK");
}

/// s_server on loopback with the key in the token.
fn serve(token: &Token) -> (Server, u16) {
    let port = free_port();
    let server = token
        .openssl_engine("s_server -engine pkcs11 -keyform engine -cert certificate.pem -www")
        .args(["-accept", &format!("127.0.0.1:{port}")])
        .arg("-key")
        .arg(token.uri("server", "private"))
        .spawn();
    wait_until("s_server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    (server, port)
}

fn handshake_is_verified_by_openssl(token: &Token, port: u16) {
    let client =
        format!("s_client -connect 127.0.0.1:{port} -CAfile certificate.pem -verify_return_error -verify_hostname localhost");
    token.openssl(&client).input("Q\n").ok().says("Verify return code: 0 (ok)");
}

fn rsa_key_serves_tls(token: &Token) {
    key_and_certificate(token, "rsa:2048");
    let (_server, port) = serve(token);
    handshake_is_verified_by_openssl(token, port);
}

fn ec_key_serves_tls(token: &Token) {
    key_and_certificate(token, "EC:prime256v1");
    let (_server, port) = serve(token);
    handshake_is_verified_by_openssl(token, port);
}

fn three_clients_verify_one_server(token: &Token) {
    key_and_certificate(token, "EC:prime256v1");
    let (_server, port) = serve(token);
    let gnutls = format!("--x509cafile certificate.pem --port {port} localhost");
    token.run("gnutls-cli").words(&gnutls).input("GET / HTTP/1.0\r\n\r\n").ok().says("The certificate is trusted");
    let page = token.run("curl").words(&format!("--silent --show-error --cacert certificate.pem https://localhost:{port}/")).ok();
    page.says("Ciphers supported in s_server binary");
    let python = format!(
        "import ssl, socket\n\
         context = ssl.create_default_context(cafile='certificate.pem')\n\
         with context.wrap_socket(socket.create_connection(('127.0.0.1', {port})), server_hostname='localhost') as tls:\n\
         \x20   print(tls.version(), dict(pair[0] for pair in tls.getpeercert()['subject'])['commonName'])\n"
    );
    token.run("python3").arg("-c").arg(python).ok().says("TLSv1.3 localhost");
    // The private key never left: the token holds it, and the directory holds no PEM of it.
    token.as_user().words("--list-objects --type privkey").ok().says("server");
    let listed = token.pkcs11_tool().args(["--token-label", LABEL, "--list-objects"]).ok();
    listed.never_says("Private Key Object");
}
