//! p11-kit: the module configured for a user, and served over a socket to a client that loads p11-kit's own module.

use crate::harness::{LABEL, PIN, Token, file_of_package, library_directory, promises, wait_until};

promises!(a_configured_module_is_listed, the_proxy_lists_the_token, a_remote_client_signs_through_the_server);

/// A user's own module configuration, which p11-kit reads for everybody but root.
fn configure(token: &Token) {
    let module = token.module.path();
    token.write(".config/pkcs11/modules/mine.module", format!("module: {}\n", module.display()));
}

fn a_configured_module_is_listed(token: &Token) {
    configure(token);
    let listed = token.run_as_ordinary_user("p11-kit").arg("list-modules").ok();
    listed.says(&format!("mine: {}", token.module.path().display())).says(&format!("token: {LABEL}"));
}

fn the_proxy_lists_the_token(token: &Token) {
    configure(token);
    let proxy = file_of_package(library_directory().join("p11-kit-proxy.so"), "p11-kit-modules");
    token.run_as_ordinary_user("pkcs11-tool").arg("--module").arg(proxy).arg("--list-slots").ok().says(LABEL);
}

fn a_remote_client_signs_through_the_server(token: &Token) {
    let socket = token.file("socket");
    let server = token.run("p11-kit").words("server --foreground --name").arg(&socket);
    let server = server.arg("--provider").arg(token.module.path()).arg(format!("pkcs11:token={LABEL}")).spawn();
    wait_until("the server's socket is there", || socket.exists());
    let client = file_of_package(library_directory().join("pkcs11/p11-kit-client.so"), "p11-kit-modules");
    let remote = || {
        let run = token.run("pkcs11-tool").arg("--module").arg(&client);
        run.env("P11_KIT_SERVER_ADDRESS", format!("unix:path={}", socket.display())).args(["--token-label", LABEL])
    };
    let login = || remote().args(["--login", "--pin", PIN]);
    login().words("--keypairgen --key-type rsa:2048 --id 01 --label remote").ok();
    token.write("data", "attack at dawn");
    login().words("--sign --id 01 --mechanism SHA256-RSA-PKCS --input-file data --output-file signature").ok();
    login().words("--read-object --type pubkey --id 01 --output-file public.der").ok();
    let verify = "dgst -sha256 -verify public.der -keyform DER -signature signature data";
    token.openssl(verify).ok().says("Verified OK");
    drop(server);
    // What the remote client made is in the token, where a local client finds it.
    token.as_user().words("--list-objects --type privkey").ok().says("remote");
}
