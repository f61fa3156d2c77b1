//! DNSSEC signers with keys in the token: BIND and ldns (through OpenSSL's engine), Knot (through GnuTLS). Debian's
//! dnssec-verify, which knows nothing of tokens, checks the zones.

use crate::harness::{LABEL, PIN, Token, foreign, promises};

promises!(bind_signs_a_zone, knot_makes_keys_and_signs_a_zone, ldns_signs_a_zone);

const ZONE: &str = "example.test. 3600 IN SOA ns.example.test. admin.example.test. 1 7200 3600 1209600 3600\n\
                    example.test. 3600 IN NS ns.example.test.\nns.example.test. 3600 IN A 192.0.2.1\nwww.example.test. 3600 IN A 192.0.2.2\n";

fn knot_makes_keys_and_signs_a_zone(token: &Token) {
    token.write("zones/example.test.zone", ZONE);
    let (zones, module) = (token.file("zones"), token.module.path());
    let configuration = format!(
        "database:\n    storage: {zones}\nkeystore:\n  - id: token\n    backend: pkcs11\n    config: \"pkcs11:token={LABEL};pin-value={PIN} {module}\"\n\
         policy:\n  - id: token\n    keystore: token\n    manual: on\n\
         template:\n  - id: default\n    storage: {zones}\n    dnssec-policy: token\n    dnssec-signing: on\n    file: \"%s.zone\"\n\
         zone:\n  - domain: example.test.\n",
        zones = zones.display(),
        module = module.display(),
    );
    token.write("knot.conf", configuration);
    for role in ["ksk=yes", "ksk=no"] {
        let generate = "-c knot.conf example.test. generate algorithm=ECDSAP256SHA256";
        token.run("keymgr").words(generate).arg(role).ok();
    }
    token.run("kzonesign").words("-c knot.conf -o signed example.test.").ok();
    let verified = token.run("dnssec-verify").words("-o example.test signed/example.test.zone").ok();
    verified.says("Zone fully signed").says("KSKs: 1 active").says("ZSKs: 1 active");
    // The private halves are in the token, not in Knot's key directory.
    let listed = token.as_user().words("--list-objects --type privkey").ok().text();
    assert_eq!(listed.matches("Private Key Object; EC").count(), 2, "{listed}");
}

fn ldns_signs_a_zone(token: &Token) {
    token.write("zone", ZONE);
    token.as_user().words("--keypairgen --usage-sign --key-type EC:prime256v1 --label zone --id 01").ok();
    let key = format!("13,{}", token.uri("zone", "private"));
    let sign = token.run("ldns-signzone").env("OPENSSL_CONF", token.engine_configuration()).words("-E pkcs11 -k");
    sign.arg(key).words("-f signed -o example.test zone").ok();
    token.run("dnssec-verify").words("-z -o example.test signed").ok().says("Zone fully signed");
}

/// Debian 12 builds BIND without OpenSSL engines, so its tools are built with them from Debian's source.
fn bind_signs_a_zone(token: &Token) {
    token.write("zone", ZONE);
    let tools = foreign("bind").join("source/bin/dnssec");
    let bind =
        |tool: &str| token.run_file(&tools.join(tool)).env("OPENSSL_CONF", token.engine_configuration()).words("-E pkcs11");
    for (id, label, flags) in [("01", "ksk", "-f KSK"), ("02", "zsk", "")] {
        token.as_user().words("--keypairgen --usage-sign --key-type EC:prime256v1").args(["--label", label, "--id", id]).ok();
        let uri = format!("pkcs11:token={LABEL};object={label};pin-value={PIN}");
        bind("dnssec-keyfromlabel").words("-a ECDSAP256SHA256").words(flags).arg("-l").arg(uri).arg("example.test").ok();
    }
    bind("dnssec-signzone").words("-S -o example.test -f signed zone").ok();
    let verified = token.run("dnssec-verify").words("-o example.test signed").ok();
    verified.says("Zone fully signed").says("KSKs: 1 active").says("ZSKs: 1 active");
}
