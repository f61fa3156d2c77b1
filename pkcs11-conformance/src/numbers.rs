//! Numbers that cases make objects of: an RSA key that protects nothing, a certificate, DSA and Diffie-Hellman domain parameters.

use crate::case::Stop;

/// A certificate of a P-256 key for the name `CN=conformance`, signed by that key: DER.
pub const CERTIFICATE: &str = "3082018330820129a00302010202143002038863e6072a9789ed131fcba816eb06e629300a06082a8648ce3d040302301631143012060355\
     04030c0b636f6e666f726d616e63653020170d3236313132393131333032385a180f32313236313130353131333032385a30163114301206\
     035504030c0b636f6e666f726d616e63653059301306072a8648ce3d020106082a8648ce3d03010703420004f925490d16559dcae4cad374\
     dca1d66bff9269f98aace6de8d2593c77687422ead9aa6eb3883ca2d01111513a915efac79adff5bff2afb79268d6b8e9cb7fbc2a3533051\
     301d0603551d0e0416041471fc5ac69885cd4522a53323e3bf455aed18cf55301f0603551d2304183016801471fc5ac69885cd4522a53323\
     e3bf455aed18cf55300f0603551d130101ff040530030101ff300a06082a8648ce3d040302034800304502210083fded2eb1bc831b99c8ee\
     d859d89e08754f798cd3f856a3730581015a734f7302205e28c56100d996edfad831e700d76072c6e876ea5f68d8db37893242e2a73d3b";
/// Its subject and issuer: DER.
pub const CERTIFICATE_NAME: &str = "30163114301206035504030c0b636f6e666f726d616e6365";
/// Its serial number: DER.
pub const CERTIFICATE_SERIAL: &str = "02143002038863e6072a9789ed131fcba816eb06e629";
/// The private value of its key.
pub const CERTIFICATE_KEY: &str = "d9aa56a622c1b2cd266cc4625208946e1615ef843bea35d74ec8458fc9769d23";
/// The point of its key.
pub const CERTIFICATE_POINT: &str = "04f925490d16559dcae4cad374dca1d66bff9269f98aace6de8d2593c77687422e\
     ad9aa6eb3883ca2d01111513a915efac79adff5bff2afb79268d6b8e9cb7fbc2";
/// The modulus of an RSA-2048 key that was made for this file.
pub const RSA_MODULUS: &str = "ea3f384fd9e5420a6ac3b3f2024e88dda1e61427aa431885ed4bb0e9c90f073ecce257db9824d29290707e4853096d4bfe2661dc1a5fac01\
     cc9f45f66a3fdbe3e6435d24102cc4b609ae0a381981cb0d5dcb230bc6baee8c83823d6d86d67026e433b06de29c8d8c09e4f74bb326f0dd\
     7506bccb895dc5d96e1dcf158a66204bf625f35cb3b696df2e15b54ac4e09854eb2cc2f26cf84c6ec9b4565ee5cdf16ebce82d66c47e3bb2\
     1064eef23455b010c3a7632514a1419b4462e5ce2faece34456a6b230dc1dfed49c28e36fd226d36542ac47c7ce814867ebec6c05142353b\
     f85428db484f38057385c49a01493f23d37883cab5c0156455f04428cc3bf54b";
/// Its public exponent.
pub const RSA_PUBLIC_EXPONENT: &str = "010001";
/// Its private exponent.
pub const RSA_PRIVATE_EXPONENT: &str = "2f3e2fdbbeece35c597afdd43dcddc01a310d598c8587ede27e51f998ef0c67bce7389d7a2802eaddb8eac916699dc9eba73c041d559dd45\
     81a0cfc9ea54d5c2c96265ab0bce13a049247e302148d18c7111b29041f4da7ea159478d4ae7fdb78247c079f0fdb4f87cd85e5db8948e78\
     838d27cf7ef5581d497d9e91d01757c4c76874f5020fc196eae7bcc310469ef158bab3eb2dd444497472424c20f319592de6b6002294509f\
     65b2217ae29d804d23f57b406c3351226908f00ecaa374d460c701284b047756d2111cd68263a3ce136aa26a4678f87a00ac25ae184ad83e\
     f28f7f40c1b33ffb17622d69b996b63f6f71b3582894b12084d96143edbb2895";
/// Its first prime.
pub const RSA_PRIME_1: &str = "f73f38c60df2dc1e73bcc35252374bff9fe86c3644159158043404e34d567aa09d24f806a2cb6c957b8637abe8fd08feae0750e82b2bd6f0\
     aebbf87a4a5eca4bb2f39f79a696b6b20e7c9dd2baa9c6ba65da70834aa9a952db00e6ed4590205660c4a1cc83d8cce39b38cbf8bdd03460\
     251d6de20b204d30e9e562f5a2372fc5";
/// Its second prime.
pub const RSA_PRIME_2: &str = "f28a2e23e3e490c2536e61f3b3b24568df3ad5f7a77a4903e976c652f24d4b29c01fca6ad2452bcb5ac3c07bdff11a1123dbcc8398ebb8a0\
     fe7762c837bd34578f542326ef5c773b432d3f102afe7b3398899082bb82f944b8338c8e389a24477e1f1bacd52d60945f40e6278daa070d\
     70fe98b71354f55a98459a1f3e7351cf";
/// The private exponent modulo the first prime less one.
pub const RSA_EXPONENT_1: &str = "49fd25643f7059e6d303bdffb892cbaf678f0a330314e135d1ac2f7a45fe871be16adabe41a156913531e91f0cce0c0f0acd2dad0c9e45e8\
     28a21fad98ebdce5e25b7d71ce2473efbcde15eca5e7808cef45fb3d8eee4eb978c84052e8ea448314da43010cc3a82cc49aae8f755e050e\
     708cea01270b378e57b04978f05e4b71";
/// The private exponent modulo the second prime less one.
pub const RSA_EXPONENT_2: &str = "ed1d4844903cd98511d9dd6b4aa7a392068357c1d97b04bd0d56b04751595d7d40b613c761307cc33f4616fd440f4b43ac81eb2c50a94b04\
     22230770e4855611b02f3a7a8b122402cd07041b435d2d8760be44887ad76de8d0089d864131f8fbe80273a501786e6e3fbd8c04e94b6bbf\
     a9534e6bd53b7eef05e52deb13bbdc23";
/// The inverse of the second prime modulo the first.
pub const RSA_COEFFICIENT: &str = "b8e6f25a281ce25fbe83e88a386453bc8ef8bd7c6797a7f628b5405d9df6b25583dedcccc34e3099de037efa9f2a9a1ad376b9b750acd263\
     e0029c04178f0fcb3f885765d8b085dc1a0922ac1e40405e2c57f08cb6b2efdba56a9b3224cb2fd75110a73ed7a60516ee5154e1d6ca7d06\
     0930aed1f367c096c958e2c27195f98e";
/// A 1024-bit DSA prime: every module that has DSA takes this size.
pub const DSA_PRIME: &str = "8bf605c576558a947edcf5452546e31756366165241f1fb4d609ad95f0009134a022893f9999dae7628e0eabcd77a3da1a6120ffee295576\
     211854af525b1ac906f6f7d94a4d23a94b3f2f4a78144f8764a1498b85c8036cb9df0aac98aaae63a4fb086b83d75ccf76a4706e6fd6aadb\
     59b90d8a1cda4624d14bf9c57bc22e97";
/// Its 160-bit subprime.
pub const DSA_SUBPRIME: &str = "956c1ded2a2540c5ffb60f844d71e39ae914a6db";
/// Its generator.
pub const DSA_BASE: &str = "82ea5bfbb9fbe42549768fa7fa3a886a640fbf8bd2153119b74195863b8039ad7d3c298f07d192461ceeb74264a9b01f186fa72c99b02218\
     88a1653e29cc842b42e64853f992ccb17dc784687e4b5a5161e6cf19f798ee298fa8d68639484270ba2a0964af485160e0c1b99dd83f4831\
     4ebb7c3c6fb3e64090052fe81d995550";
/// The prime of RFC 3526, 3 (2048-bit group), whose generator is 2.
pub const DH_PRIME: &str = "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404ddef9519b3cd3a431b\
     302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7edee386bfb5a899fa5ae9f24117c4b1fe6\
     49286651ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f83655d23dca3ad961c62f356208552bb9ed529077096966d\
     670c354e4abc9804f1746c08ca18217c32905e462e36ce3be39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf695581718\
     3995497cea956ae515d2261898fa051015728e5a8aacaa68ffffffffffffffff";

/// The bytes that a hexadecimal text stands for; blanks between them do not count.
pub fn hex(text: &str) -> Result<Vec<u8>, Stop> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(|pair| byte(pair).filter(|_| pair.len() == 2)).collect();
    bytes.ok_or_else(|| Stop::Skip(format!("the suite's own number {text:?} is not hexadecimal")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_and_nothing_else() {
        assert_eq!(hex("00 ff\n1a"), Ok(vec![0, 255, 26]));
        assert!(hex("0").is_err() && hex("0g").is_err());
    }
}
