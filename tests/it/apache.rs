//! Apache: started as root, it loads key and certificate from the token, and its children, who are somebody else, sign handshakes with them.

use crate::harness::{LABEL, Module, PIN, Token, file_of_package, free_port, wait_until};
use crate::nginx::make_readable;

#[test]
fn children_of_another_user_sign_on_our_module() {
    serves_what_curl_verifies(&Token::initialised(Module::Ours));
}

#[test]
fn children_of_another_user_sign_by_default() {
    let token = Token::by_default("");
    token.initialise(LABEL);
    serves_what_curl_verifies(&token);
}

fn serves_what_curl_verifies(token: &Token) {
    token.as_user().words("--keypairgen --key-type rsa:2048 --id 01 --label web").ok();
    let request = "req -new -x509 -engine pkcs11 -keyform engine -sha256 -days 30 -subj /CN=localhost -out certificate.pem";
    let request = token.openssl_engine(request).args(["-addext", "subjectAltName=DNS:localhost"]);
    request.arg("-key").arg(token.uri("web", "private")).ok();
    token.openssl("x509 -in certificate.pem -outform DER -out certificate.der").ok();
    token.as_user().words("--write-object certificate.der --type cert --id 01 --label web").ok();
    token.write("pages/index.html", "from apache\n");
    make_readable(token);

    let port = free_port();
    token.write("apache.conf", configuration(token, port));
    let apache = token.run("apache2").words("-DFOREGROUND -f").arg(token.file("apache.conf"));
    let server = apache.env("OPENSSL_CONF", token.engine_configuration()).env("PKCS11_MODULE_PATH", token.module.path()).spawn();
    wait_until("apache listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let url = format!("https://localhost:{port}/index.html");
    for _ in 0..20 {
        token.run("curl").words("--silent --show-error --cacert certificate.pem").arg(&url).ok().says("from apache");
    }
    server.terminate();
}

fn configuration(token: &Token, port: u16) -> String {
    let uri = |kind: &str| format!("pkcs11:token={LABEL};object=web;type={kind};pin-value={PIN}");
    let module = |name: &str| {
        let file = file_of_package(format!("/usr/lib/apache2/modules/mod_{name}.so"), "apache2-bin");
        format!("LoadModule {name}_module {}\n", file.display())
    };
    let modules: String = ["mpm_event", "authz_core", "ssl"].map(module).concat();
    let root = token.directory().display();
    format!(
        "{modules}ServerRoot {root}\nDefaultRuntimeDir {root}\nPidFile {root}/apache.pid\nErrorLog /dev/stderr\nServerName localhost\n\
         Listen 127.0.0.1:{port}\nUser www-data\nGroup www-data\nDocumentRoot {root}/pages\nSSLCryptoDevice pkcs11\nSSLEngine on\n\
         SSLCertificateFile \"{}\"\nSSLCertificateKeyFile \"{}\"\n",
        uri("cert"),
        uri("private")
    )
}
