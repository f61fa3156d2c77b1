//! Programs of many kinds that take a key or a certificate from a token: OpenDNSSEC's, stunnel, OpenVPN, GnuPG's, a PAM module's. What the token holds
//! for them is a self-signed certificate with its key.

use std::net::TcpStream;

use crate::harness::{LABEL, PIN, Token, free_port, promises, wait_until};

promises!(opendnssec_makes_tests_and_removes_keys, stunnel_serves_tls, certificates_are_listed_for_openvpn_gnupg_and_pam);

/// A key pair and its certificate, with the id 01 and the label `service`; the certificate in `service.pem` too.
fn certificate(token: &Token) {
    token.as_user().words("--keypairgen --id 01 --label service --key-type rsa:2048").ok();
    let request = "req -new -x509 -engine pkcs11 -keyform engine -sha256 -days 30 -subj /CN=localhost -out service.pem";
    let request = token.openssl_engine(request).args(["-addext", "subjectAltName=DNS:localhost"]).arg("-key");
    request.arg(token.uri("service", "private")).ok();
    token.openssl("x509 -in service.pem -outform DER -out service.der").ok();
    token.as_user().words("--write-object service.der --type cert --id 01 --label service").ok();
}

fn opendnssec_makes_tests_and_removes_keys(token: &Token) {
    let module = token.module.path();
    let repository = format!(
        "<Repository name=\"hsm\"><Module>{}</Module><TokenLabel>{LABEL}</TokenLabel><PIN>{PIN}</PIN></Repository>",
        module.display()
    );
    token.write("conf.xml", format!("<Configuration><RepositoryList>{repository}</RepositoryList></Configuration>"));
    let hsmutil = |words: &str| token.run("ods-hsmutil").words("-c conf.xml").words(words);
    let made = hsmutil("generate hsm rsa 2048").ok().says("Key generation successful: ").text();
    let id = made.rsplit(' ').next().expect("a line").trim().to_owned();
    hsmutil("list").ok().says(&id).says("RSA/2048");
    let key = token.as_user().words("--read-object --type pubkey --output-file key.der --id").arg(&id);
    key.ok();
    let tag = hsmutil("dnskey").arg(&id).words("example.org. 257 8").ok().text();
    let numbers = token.openssl("rsa -pubin -inform DER -in key.der -noout -modulus").ok().text();
    assert!(tag.starts_with("example.org.") && numbers.starts_with("Modulus="), "{tag}{numbers}");
    let modulus = numbers.trim().trim_start_matches("Modulus=");
    assert!(dnskey_in_hexadecimal(&tag).ends_with(modulus), "{tag} holds {modulus}");
    let tested = hsmutil("test hsm").end();
    for (kind, expected) in [("Generating ED25519 key", 1), ("Generating ECDSA Curve P-256 key", 1), ("Deleting key... OK", 4)] {
        assert!(tested.all().matches(kind).count() >= expected, "{kind}:\n{}", tested.all());
    }
    token.run("ods-hsmspeed").words("-c conf.xml -r hsm -i 20 -s 2048 -t 2").ok().says("sig/s");
    hsmutil("remove").arg(&id).ok().says("Key remove successful");
    hsmutil("list").ok().never_says(&id);
}

/// The public key of a DNSKEY record, in upper-case hexadecimal digits.
fn dnskey_in_hexadecimal(record: &str) -> String {
    let base64: String =
        record.split_once(" 8 ").expect("algorithm 8").1.split(';').next().expect("a part").split_whitespace().collect();
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = base64.trim_end_matches('=').bytes().map(value).collect();
    let bits = digits.chunks(4).flat_map(|four| {
        let word = four.iter().fold(0_u32, |word, digit| word << 6 | u32::from(*digit)) << (6 * (4 - four.len()));
        word.to_be_bytes()[1..four.len()].to_vec()
    });
    bits.map(|byte| format!("{byte:02X}")).collect()
}

fn stunnel_serves_tls(token: &Token) {
    certificate(token);
    let (outside, inside) = (free_port(), free_port());
    token.write("page", "behind stunnel\n");
    let page = token.run("python3").words("-m http.server --bind 127.0.0.1").arg(inside.to_string()).spawn();
    token.write(
        "stunnel.conf",
        format!(
            "foreground = yes\npid =\nengine = pkcs11\nengineCtrl = MODULE_PATH:{}\n[tls]\naccept = 127.0.0.1:{outside}\n\
             connect = 127.0.0.1:{inside}\ncert = service.pem\nkey = {}\nengineNum = 1\n",
            token.module.path().display(),
            token.uri("service", "private")
        ),
    );
    let stunnel = token.run("stunnel").arg("stunnel.conf").spawn();
    for port in [inside, outside] {
        wait_until("both listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
    let url = format!("https://localhost:{outside}/page");
    token.run("curl").words("--silent --show-error --cacert service.pem").arg(url).ok().says("behind stunnel");
    stunnel.terminate();
    page.terminate();
}

fn certificates_are_listed_for_openvpn_gnupg_and_pam(token: &Token) {
    certificate(token);
    let listed = token.run("openvpn").arg("--show-pkcs11-ids").arg(token.module.path()).ok();
    listed.says("CN=localhost").says(&format!("/{LABEL}/01"));

    token.write("scd.conf", format!("providers token\nprovider-token-library {}\n", token.module.path().display()));
    let daemon = token.run("gnupg-pkcs11-scd").args(["--server", "--homedir"]).arg(token.directory());
    let daemon = daemon.arg("--options").arg(token.file("scd.conf")).input("LEARN\nBYE\n");
    daemon.ok().says("KEYPAIRINFO").says(&format!("/{LABEL}/01"));

    token.write(
        "pam.conf",
        format!(
            "pam_pkcs11 {{ use_pkcs11_module = token;\n pkcs11_module token {{ module = {}; slot_num = 0; cert_policy = none; }}\n}}\n",
            token.module.path().display()
        ),
    );
    let listed = token.run("pkcs11_listcerts").arg(format!("config_file={}", token.file("pam.conf").display()));
    listed.input(format!("{PIN}\n")).ok().says("CN=localhost");
}
