//! Each kind of parameter: what it becomes, and what is refused.

use cryptoki_sys::*;

use super::*;
use crate::ck::Mgf;

/// A structure, or bytes, as a parameter.
fn of<T>(value: &mut T) -> Parameter {
    Parameter { start: std::ptr::from_mut(value).cast(), len: size_of::<T>() as CK_ULONG }
}

const NONE: Parameter = Parameter { start: std::ptr::null_mut(), len: 0 };

/// Decodes what the tests made of their own variables.
fn decoded(kind: ParamKind, parameter: Parameter) -> Result<Params> {
    // SAFETY: the tests' own variables, with their lengths, or refused.
    unsafe { decode(kind, parameter, Dialect::Standard) }
}

/// What it becomes, as it prints; or the code.
fn shown(kind: ParamKind, parameter: Parameter) -> std::result::Result<String, Code> {
    decoded(kind, parameter).map(|params| format!("{params:?}")).map_err(|error| error.code())
}

const INVALID: std::result::Result<String, Code> = Err(Code::MechanismParamInvalid);

#[test]
fn a_structure_has_its_size() {
    let kinds = [
        ParamKind::Gcm,
        ParamKind::Ccm,
        ParamKind::Ctr,
        ParamKind::Oaep,
        ParamKind::Pss,
        ParamKind::Ecdh1,
        ParamKind::MacLength,
        ParamKind::StringData,
        ParamKind::CbcEncryptData(8),
        ParamKind::CbcEncryptData(16),
        ParamKind::OtherKey,
        ParamKind::RsaAesKeyWrap,
        ParamKind::OptionalEddsa,
    ];
    let sizes = [48, 48, 24, 40, 24, 40, 8, 16, 24, 32, 8, 16, 24];
    let mut zeros = [0_u64; 8];
    for (kind, size) in kinds.into_iter().zip(sizes) {
        for len in (0..=64).filter(|len| *len != size) {
            let parameter = Parameter { len, ..of(&mut zeros) };
            assert_eq!(shown(kind, parameter), INVALID, "{kind:?} of {len} bytes");
        }
        assert_eq!(shown(kind, Parameter { start: std::ptr::null_mut(), len: size }), INVALID, "{kind:?} at NULL");
    }
}

#[test]
fn what_may_be_absent_may_be() {
    assert_eq!(shown(ParamKind::None, NONE).unwrap(), "None");
    assert_eq!(shown(ParamKind::None, of(&mut [1_u8; 5])).unwrap(), "None");
    assert_eq!(shown(ParamKind::OptionalIv(8), NONE).unwrap(), "None");
    assert_eq!(shown(ParamKind::OptionalEddsa, NONE).unwrap(), "None");
    for kind in [ParamKind::Iv(16), ParamKind::Gcm, ParamKind::Oaep, ParamKind::RawData, ParamKind::MacLength] {
        assert_eq!(shown(kind, NONE), INVALID, "{kind:?}");
    }
    assert_eq!(shown(ParamKind::OptionalIv(8), Parameter { len: 8, ..NONE }), INVALID);
}

#[test]
fn an_iv_has_its_length() {
    assert_eq!(shown(ParamKind::Iv(4), of(&mut [1_u8, 2, 3, 4])).unwrap(), "Iv([1, 2, 3, 4])");
    assert_eq!(shown(ParamKind::Iv(4), of(&mut [1_u8; 3])), INVALID);
    assert_eq!(shown(ParamKind::OptionalIv(2), of(&mut [1_u8; 3])), INVALID);
    assert_eq!(shown(ParamKind::OptionalIv(2), of(&mut [1_u8, 2])).unwrap(), "Iv([1, 2])");
}

#[test]
fn gcm_takes_its_iv_length_in_bytes_whatever_it_is_said_to_be_in_bits() {
    let (iv, aad) = ([1_u8, 2], [3_u8]);
    let with = |iv_len, iv_bits| CK_GCM_PARAMS {
        pIv: iv.as_ptr().cast_mut(),
        ulIvLen: iv_len,
        ulIvBits: iv_bits,
        pAAD: aad.as_ptr().cast_mut(),
        ulAADLen: 1,
        ulTagBits: 128,
    };
    let expected = "Gcm { iv: [1, 2], aad: [3], tag_bits: 128 }";
    assert_eq!(shown(ParamKind::Gcm, of(&mut with(2, 0))).unwrap(), expected);
    assert_eq!(shown(ParamKind::Gcm, of(&mut with(2, 16))).unwrap(), expected);
    assert_eq!(shown(ParamKind::Gcm, of(&mut with(2, 7_142_801_656_911_775_059))).unwrap(), expected);
    assert_eq!(shown(ParamKind::Gcm, of(&mut with(u64::MAX, 0))), INVALID);
    let mut no_iv = CK_GCM_PARAMS { pIv: std::ptr::null_mut(), ..with(0, 0) };
    assert_eq!(shown(ParamKind::Gcm, of(&mut no_iv)).unwrap(), "Gcm { iv: [], aad: [3], tag_bits: 128 }");
    let mut nowhere = CK_GCM_PARAMS { pIv: std::ptr::null_mut(), ..with(2, 0) };
    assert_eq!(shown(ParamKind::Gcm, of(&mut nowhere)), INVALID);
}

#[test]
fn ccm_ctr_and_data_to_encrypt() {
    let mut bytes = [7_u8, 8];
    let start = bytes.as_mut_ptr();
    let mut ccm = CK_CCM_PARAMS { ulDataLen: 5, pNonce: start, ulNonceLen: 2, pAAD: start, ulAADLen: 1, ulMACLen: 16 };
    assert_eq!(shown(ParamKind::Ccm, of(&mut ccm)).unwrap(), "Ccm { data_len: 5, nonce: [7, 8], aad: [7], mac_len: 16 }");
    for (bits, valid) in [(0, false), (1, true), (128, true), (129, false)] {
        let mut ctr = CK_AES_CTR_PARAMS { ulCounterBits: bits, cb: [0; 16] };
        assert_eq!(shown(ParamKind::Ctr, of(&mut ctr)).is_ok(), valid, "{bits} bits");
    }
    let mut aes = CK_AES_CBC_ENCRYPT_DATA_PARAMS { iv: [1; 16], pData: start, length: 2 };
    let params = decoded(ParamKind::CbcEncryptData(16), of(&mut aes)).unwrap();
    assert!(matches!(params, Params::CbcEncryptData { iv, data } if iv == [1; 16] && data == [7, 8]));
    let mut des = CK_DES_CBC_ENCRYPT_DATA_PARAMS { iv: [2; 8], pData: start, length: 2 };
    let params = decoded(ParamKind::CbcEncryptData(8), of(&mut des)).unwrap();
    assert!(matches!(params, Params::CbcEncryptData { iv, data } if iv == [2; 8] && data == [7, 8]));
}

/// OAEP with a label of so many bytes at `start`.
fn oaep(hash: CK_MECHANISM_TYPE, mgf: Mgf, source: u64, start: *mut u8, len: u64) -> CK_RSA_PKCS_OAEP_PARAMS {
    CK_RSA_PKCS_OAEP_PARAMS { hashAlg: hash, mgf: mgf.0, source, pSourceData: start.cast(), ulSourceDataLen: len }
}

#[test]
fn oaep_as_the_standard_and_as_softhsm_judge_it() {
    let mut label = [5_u8];
    let (null, label) = (std::ptr::null_mut(), label.as_mut_ptr());
    let (sha1, sha256) = (Mgf::MGF1_SHA1, Mgf::MGF1_SHA256);
    let cases = [
        (oaep(CKM_SHA_1, sha1, 1, null, 0), true, true),
        (oaep(CKM_SHA256, sha256, 1, label, 1), true, true),
        (oaep(CKM_SHA256, sha1, 1, null, 0), true, true),
        (oaep(CKM_SHA_1, sha256, 1, null, 0), true, false),
        (oaep(CKM_SHA_1, sha1, 1, label, 0), true, false),
        (oaep(CKM_SHA_1, sha1, 1, label, 1), true, false),
        (oaep(CKM_SHA_1, sha1, 0, null, 0), true, false),
        (oaep(CKM_SHA_1, sha1, 0, label, 1), false, false),
        (oaep(CKM_SHA_1, sha1, 1, null, 1), false, false),
        (oaep(CKM_AES_CBC, sha1, 1, null, 0), false, false),
    ];
    for (at, (mut raw, standard, softhsm)) in cases.into_iter().enumerate() {
        for (dialect, valid, code) in
            [(Dialect::Standard, standard, Code::MechanismParamInvalid), (Dialect::SoftHsm, softhsm, Code::ArgumentsBad)]
        {
            // SAFETY: our own variables, with their lengths, or refused.
            let outcome = unsafe { decode(ParamKind::Oaep, of(&mut raw), dialect) };
            assert_eq!(
                outcome.map(drop).map_err(|error| error.code()),
                if valid { Ok(()) } else { Err(code) },
                "{at} {dialect:?}"
            );
        }
    }
}

#[test]
fn rsa_and_curves() {
    let mut bytes = [4_u8, 5];
    let start = bytes.as_mut_ptr();
    let mut pss = CK_RSA_PKCS_PSS_PARAMS { hashAlg: CKM_SHA256, mgf: Mgf::MGF1_SHA256.0, sLen: 32 };
    let expected = "Pss { hash: CKM_SHA256, mgf: CKG_MGF1_SHA256, salt_len: 32 }";
    assert_eq!(shown(ParamKind::Pss, of(&mut pss)).unwrap(), expected);
    pss.hashAlg = CKM_AES_GCM;
    assert_eq!(shown(ParamKind::Pss, of(&mut pss)), INVALID);

    let mut inner = oaep(CKM_SHA_1, Mgf::MGF1_SHA1, 1, start, 2);
    let mut wrap = CK_RSA_AES_KEY_WRAP_PARAMS { ulAESKeyBits: 256, pOAEPParams: &raw mut inner };
    let expected = "RsaAesKeyWrap { aes_bits: 256, oaep: Oaep { hash: CKM_SHA_1, mgf: CKG_MGF1_SHA1, label: [4, 5] } }";
    assert_eq!(shown(ParamKind::RsaAesKeyWrap, of(&mut wrap)).unwrap(), expected);
    wrap.pOAEPParams = std::ptr::null_mut();
    assert_eq!(shown(ParamKind::RsaAesKeyWrap, of(&mut wrap)), INVALID);

    let mut ecdh = CK_ECDH1_DERIVE_PARAMS {
        kdf: CKD_NULL,
        ulSharedDataLen: 0,
        pSharedData: std::ptr::null_mut(),
        ulPublicDataLen: 2,
        pPublicData: start,
    };
    let expected = "Ecdh1 { kdf: CKD_NULL, shared_data: [], public_data: [4, 5] }";
    assert_eq!(shown(ParamKind::Ecdh1, of(&mut ecdh)).unwrap(), expected);
    ecdh.ulSharedDataLen = 1;
    assert_eq!(shown(ParamKind::Ecdh1, of(&mut ecdh)), INVALID);

    let mut eddsa = CK_EDDSA_PARAMS { phFlag: 1, ulContextDataLen: 2, pContextData: start };
    assert_eq!(shown(ParamKind::OptionalEddsa, of(&mut eddsa)).unwrap(), "Eddsa { prehash: true, context: [4, 5] }");
}

#[test]
fn numbers_handles_and_strings() {
    assert_eq!(shown(ParamKind::MacLength, of(&mut 12_u64)).unwrap(), "MacLength(12)");
    assert_eq!(shown(ParamKind::OtherKey, of(&mut 12_u64)).unwrap(), "OtherHandle(12)");
    assert_eq!(shown(ParamKind::RawData, of(&mut [1_u8, 2])).unwrap(), "Data([1, 2])");
    let mut bytes = [4_u8, 5];
    let mut string = CK_KEY_DERIVATION_STRING_DATA { pData: bytes.as_mut_ptr(), ulLen: 2 };
    assert_eq!(shown(ParamKind::StringData, of(&mut string)).unwrap(), "Data([4, 5])");
    for len in [MECHANISM_PARAMETER_MAX_BYTES as u64 + 1, u64::MAX] {
        string.ulLen = len;
        assert_eq!(shown(ParamKind::StringData, of(&mut string)), INVALID, "{len}");
    }
}

#[test]
fn mechanisms_that_do_not_exist_are_told() {
    let named = |kind| {
        let raw = CK_MECHANISM { mechanism: kind, ..CK_MECHANISM::default() };
        // SAFETY: our own variable.
        unsafe { mechanism(&raw const raw, Dialect::Standard) }.map(|it| it.kind.0).map_err(|error| error.code())
    };
    assert_eq!(named(CKM_SHA256), Ok(CKM_SHA256));
    assert_eq!(named(CKM_VENDOR_DEFINED), Err(Code::MechanismInvalid));
    assert_eq!(named(CKM_AES_GCM), Err(Code::MechanismParamInvalid));
    // SAFETY: NULL is refused.
    let null = unsafe { mechanism(std::ptr::null(), Dialect::Standard) };
    assert_eq!(null.map(drop).map_err(|error| error.code()), Err(Code::ArgumentsBad));
}
