//! SoftHSM's own softhsm2-util, pointed at a module by `--module`: its output is what scripts parse.

use crate::harness::{LABEL, PIN, Run, SO_PIN, Token, promises};

promises!(slots_are_shown, tokens_are_made_beside_each_other, a_pkcs8_key_is_imported, a_used_token_is_emptied);

fn util(token: &Token) -> Run {
    token.run("softhsm2-util").arg("--module").arg(token.module.path())
}

fn slots_are_shown(token: &Token) {
    let shown = util(token).arg("--show-slots").ok().text();
    assert_eq!(shown.matches("Slot ").count() - shown.matches("Slot info").count(), 2, "the token and the spare slot:\n{shown}");
    let spare = shown.rfind("Initialized:      no").unwrap_or_else(|| panic!("no spare slot:\n{shown}"));
    let token_at = shown.find("Initialized:      yes").unwrap_or_else(|| panic!("no initialised token:\n{shown}"));
    assert!(token_at < spare, "the spare slot is listed last:\n{shown}");
    assert!(shown.contains(&format!("Label:            {LABEL}")), "{shown}");
}

fn tokens_are_made_beside_each_other(token: &Token) {
    for label in ["second", "third"] {
        let made = util(token).args(["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN]).ok();
        made.says("The token has been initialized and is reassigned to slot");
    }
    let shown = util(token).arg("--show-slots").ok().text();
    for label in [LABEL, "second", "third"] {
        assert!(shown.contains(&format!("Label:            {label}")), "{label} is missing:\n{shown}");
    }
    util(token).args(["--init-token", "--free", "--label", "short", "--pin", "123", "--so-pin", SO_PIN]).fails();
}

fn a_pkcs8_key_is_imported(token: &Token) {
    token.write("data", "attack at dawn");
    for (id, make) in
        [("0a", "genrsa -out key.pem 2048"), ("0b", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem")]
    {
        token.openssl(make).ok();
        token.openssl("pkcs8 -topk8 -nocrypt -in key.pem -out key.p8").ok();
        util(token).words("--import key.p8 --label imported").args(["--token", LABEL, "--id", id, "--pin", PIN]).ok();
        token.openssl("pkey -in key.pem -pubout -out public.pem").ok();
        // Without a hash in the mechanism: SoftHSM 2.6.1 has no ECDSA with one.
        let (mechanism, input) = if id == "0a" { ("SHA256-RSA-PKCS", "data") } else { ("ECDSA", "digest") };
        token.openssl("dgst -sha256 -binary -out digest data").ok();
        let sign = "--sign --signature-format openssl --output-file signature --input-file";
        token.as_user().words(sign).args([input, "--mechanism", mechanism, "--id", id]).ok();
        token.openssl("dgst -sha256 -verify public.pem -signature signature data").ok().says("Verified OK");
    }
}

fn a_used_token_is_emptied(token: &Token) {
    token.as_user().words("--keypairgen --key-type EC:prime256v1 --id 01 --label gone").ok();
    let again =
        |so_pin: &str| util(token).args(["--init-token", "--token", LABEL, "--label", "again", "--pin", PIN, "--so-pin", so_pin]);
    again("00000000").fails();
    token.as_user().arg("--list-objects").ok().says("gone");
    again(SO_PIN).ok();
    let listed = token.pkcs11_tool().args(["--token-label", "again", "--login", "--pin", PIN, "--list-objects"]).ok();
    listed.never_says("gone");
}
