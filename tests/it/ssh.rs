//! OpenSSH: keys listed from the module, used by ssh directly and through an agent, against a real sshd on loopback.

use crate::harness::{PIN, Server, Token, free_port, program, promises_everywhere, wait_until};

promises_everywhere!(ssh_logs_in_with_rsa_and_ec_keys, the_agent_signs_logins, the_agent_forgets_a_removed_module);

fn keys(token: &Token) {
    token.as_user().words("--keypairgen --key-type rsa:2048 --id 01 --label rsa").ok();
    token.as_user().words("--keypairgen --key-type EC:prime256v1 --id 02 --label ec").ok();
}

/// The token's public keys as authorized_keys lines.
fn public_keys(token: &Token) -> Vec<String> {
    let listed = token.run("ssh-keygen").arg("-D").arg(token.module.path()).ok().text();
    let lines: Vec<String> = listed.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "two keys are listed:\n{listed}");
    lines
}

/// sshd on loopback that lets exactly these keys in.
fn sshd(token: &Token, authorized: &[String]) -> (Server, u16) {
    let port = free_port();
    token.write("authorized_keys", authorized.join("\n"));
    token.run("ssh-keygen").words("-q -t ed25519 -f host_key -N").arg("").ok();
    let here = token.directory().display();
    let configuration = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {here}/host_key\nAuthorizedKeysFile {here}/authorized_keys\nPidFile none\n\
         StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPermitRootLogin prohibit-password\n"
    );
    token.write("sshd_config", configuration);
    // sshd started by root wants its privilege separation directory; elsewhere the directory is neither wanted nor ours to make.
    let _ = std::fs::create_dir("/run/sshd");
    let server = token.run_file(&program("sshd")).words("-D -e -f").arg(token.file("sshd_config")).spawn();
    wait_until("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let host_key = String::from_utf8(token.read("host_key.pub")).expect("ssh-keygen writes text");
    token.write("known_hosts", format!("[127.0.0.1]:{port} {host_key}"));
    (server, port)
}

/// An askpass program that answers with the PIN.
fn askpass(token: &Token) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = token.write("askpass", format!("#!/bin/sh\necho {PIN}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("our own file");
    path
}

fn ssh(token: &Token, port: u16) -> crate::harness::Run {
    let options =
        format!("-F none -o UserKnownHostsFile={} -o PreferredAuthentications=publickey", token.file("known_hosts").display());
    let run = token.run("ssh").words(&options).words(&format!("-p {port} 127.0.0.1"));
    run.env("SSH_ASKPASS", askpass(token)).env("SSH_ASKPASS_REQUIRE", "force").without_env("SSH_AUTH_SOCK")
}

fn ssh_logs_in_with_rsa_and_ec_keys(token: &Token) {
    keys(token);
    for key in public_keys(token) {
        let (_server, port) = sshd(token, std::slice::from_ref(&key));
        let module = format!("PKCS11Provider={}", token.module.path().display());
        // Only the token's keys may be tried: no other key of the user is.
        ssh(token, port).args(["-o", &module, "-o", "IdentityFile=none"]).arg("echo logged in").ok().says("logged in");
        ssh(token, port).args(["-o", "IdentityFile=none"]).arg("echo logged in").fails().says("Permission denied");
        std::fs::remove_file(token.file("host_key")).expect("made above");
    }
}

fn agent(token: &Token) -> (Server, std::path::PathBuf) {
    let socket = token.file("agent");
    let server = token.run("ssh-agent").words("-D -P").arg("/**").arg("-a").arg(&socket).spawn();
    wait_until("the agent's socket is there", || socket.exists());
    (server, socket)
}

fn add(token: &Token, socket: &std::path::Path) {
    let add = token.run("ssh-add").arg("-s").arg(token.module.path()).env("SSH_AUTH_SOCK", socket);
    add.env("SSH_ASKPASS", askpass(token)).env("SSH_ASKPASS_REQUIRE", "force").ok();
}

fn the_agent_signs_logins(token: &Token) {
    keys(token);
    let (_agent, socket) = agent(token);
    add(token, &socket);
    let listed = token.run("ssh-add").arg("-L").env("SSH_AUTH_SOCK", &socket).ok().text();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let (_server, port) = sshd(token, &public_keys(token));
    ssh(token, port).env("SSH_AUTH_SOCK", &socket).arg("echo logged in").ok().says("logged in");
}

fn the_agent_forgets_a_removed_module(token: &Token) {
    keys(token);
    let (_agent, socket) = agent(token);
    add(token, &socket);
    token.run("ssh-add").arg("-e").arg(token.module.path()).env("SSH_AUTH_SOCK", &socket).ok();
    token.run("ssh-add").arg("-L").env("SSH_AUTH_SOCK", &socket).fails().says("no identities");
    // Added, removed, added: the helper loads and unloads the module each time.
    add(token, &socket);
    let listed = token.run("ssh-add").arg("-L").env("SSH_AUTH_SOCK", &socket).ok().text();
    assert_eq!(listed.lines().count(), 2, "{listed}");
}
