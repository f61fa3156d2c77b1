//! OpenSSL's pkcs11 engine: requests, signatures and decryption with keys in the token, checked by OpenSSL without it.

use crate::harness::{Token, promises_everywhere};

promises_everywhere!(requests_are_signed, a_ca_in_the_token_signs_certificates, ciphertext_is_decrypted, pss_signatures_verify);

fn key(token: &Token, kind: &str) {
    token.as_user().words("--keypairgen --id 01 --label key --key-type").arg(kind).ok();
}

fn requests_are_signed(token: &Token) {
    for (number, kind) in ["rsa:3072", "EC:secp384r1"].into_iter().enumerate() {
        let label = format!("key{number}");
        token.as_user().words("--keypairgen --key-type").args([kind, "--label", &label, "--id", &format!("0{number}")]).ok();
        let request = "req -new -engine pkcs11 -keyform engine -sha384 -subj /CN=request -out request.pem -key";
        token.openssl_engine(request).arg(token.uri(&label, "private")).ok();
        token.openssl("req -verify -noout -in request.pem").ok().says("verify OK");
    }
}

fn a_ca_in_the_token_signs_certificates(token: &Token) {
    key(token, "EC:prime256v1");
    let root = "req -new -x509 -engine pkcs11 -keyform engine -sha256 -days 30 -subj /CN=CA -out ca.pem";
    let root = token.openssl_engine(root).args(["-addext", "basicConstraints=critical,CA:true"]).arg("-key");
    root.arg(token.uri("key", "private")).ok();
    token
        .openssl("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -subj /CN=leaf -out leaf.csr")
        .ok();
    let sign = "x509 -req -in leaf.csr -CA ca.pem -engine pkcs11 -CAkeyform engine -set_serial 7 -days 10 -out leaf.pem -CAkey";
    token.openssl_engine(sign).arg(token.uri("key", "private")).ok();
    token.openssl("verify -CAfile ca.pem leaf.pem").ok().says("leaf.pem: OK");
}

fn public_key(token: &Token) {
    let export = "pkey -engine pkcs11 -inform engine -pubin -pubout -out public.pem -in";
    token.openssl_engine(export).arg(token.uri("key", "public")).ok();
}

fn ciphertext_is_decrypted(token: &Token) {
    key(token, "rsa:2048");
    public_key(token);
    token.write("data", "attack at dawn");
    token.openssl("pkeyutl -encrypt -pubin -inkey public.pem -in data -out sealed").ok();
    let decrypt = "pkeyutl -decrypt -engine pkcs11 -keyform engine -in sealed -out opened -inkey";
    token.openssl_engine(decrypt).arg(token.uri("key", "private")).ok();
    assert_eq!(token.read("opened"), b"attack at dawn");
}

fn pss_signatures_verify(token: &Token) {
    key(token, "rsa:2048");
    public_key(token);
    token.write("data", "attack at dawn");
    let sign = "dgst -sha256 -engine pkcs11 -keyform engine -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1 -out signature -sign";
    token.openssl_engine(sign).arg(token.uri("key", "private")).arg("data").ok();
    let verify = "dgst -sha256 -sigopt rsa_padding_mode:pss -verify public.pem -signature signature data";
    token.openssl(verify).ok().says("Verified OK");
}
