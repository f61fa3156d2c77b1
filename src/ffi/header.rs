//! The C header for users, `include/hsmpool.h`, written from the rows that the module itself is made of.
//!
//! Names and numbers are `ck`'s, functions are the rows of the function lists; types and structures stand here and are held against the
//! bindings that the module is compiled with. A test compares the file with [`text`].

use std::fmt::{Result, Write};

use super::tables::{FUNCTIONS, Since};
use crate::ck::{AttributeType, CertificateType, Kdf, KeyType, MechanismType, Mgf, ObjectClass, Rv};
use crate::error::{CONFIGURATION, STORE_REFUSED};

/// Types that are a `CK_ULONG`.
macro_rules! numbers {
    ($($Type:ident),* $(,)?) => {
        const NUMBERS: &[&str] = &[$(stringify!($Type)),*];
        const _: () = { $(let _: fn(cryptoki_sys::$Type) -> cryptoki_sys::CK_ULONG = |number| number;)* };
    };
}

/// Constants that `ck` has no table for.
macro_rules! constants {
    ($($NAME:ident),* $(,)?) => {
        const CONSTANTS: &[(&str, u64)] = &[$((stringify!($NAME), cryptoki_sys::$NAME as u64)),*];
    };
}

/// A C structure: its name, and its fields with type, name and length, 0 for what is no array.
type Structure = (&'static str, &'static [(&'static str, &'static str, usize)]);

/// Structures; that they have these fields, of these types, in this order, is checked.
macro_rules! structures {
    ($($Name:ident { $($Type:ident $field:ident $([$len:literal])?),* $(,)? })*) => {
        const STRUCTURES: &[Structure] = &[
            $((stringify!($Name), &[$((stringify!($Type), stringify!($field), 0 $(+ $len)?)),*])),*
        ];
        const _: () = {
            $(
                let _ = |it: cryptoki_sys::$Name| {
                    let cryptoki_sys::$Name { $($field),* } = it;
                    $(let _: structures!(@ $Type $($len)?) = $field;)*
                };
                let offsets = [$(std::mem::offset_of!(cryptoki_sys::$Name, $field)),*];
                let mut at = 1;
                while at < offsets.len() {
                    assert!(offsets[at - 1] < offsets[at]);
                    at += 1;
                }
            )*
        };
    };
    (@ $Type:ident) => { cryptoki_sys::$Type };
    (@ $Type:ident $len:literal) => { [cryptoki_sys::$Type; $len] };
}

numbers! {
    CK_FLAGS, CK_RV, CK_SLOT_ID, CK_SESSION_HANDLE, CK_OBJECT_HANDLE, CK_NOTIFICATION, CK_USER_TYPE, CK_STATE, CK_OBJECT_CLASS,
    CK_KEY_TYPE, CK_CERTIFICATE_TYPE, CK_ATTRIBUTE_TYPE, CK_MECHANISM_TYPE, CK_RSA_PKCS_MGF_TYPE, CK_RSA_PKCS_OAEP_SOURCE_TYPE,
    CK_EC_KDF_TYPE, CK_MAC_GENERAL_PARAMS, CK_SESSION_VALIDATION_FLAGS_TYPE,
}

constants! {
    CK_TRUE, CK_FALSE, CK_UNAVAILABLE_INFORMATION, CK_EFFECTIVELY_INFINITE, CK_INVALID_HANDLE,
    CKU_SO, CKU_USER, CKU_CONTEXT_SPECIFIC,
    CKS_RO_PUBLIC_SESSION, CKS_RO_USER_FUNCTIONS, CKS_RW_PUBLIC_SESSION, CKS_RW_USER_FUNCTIONS, CKS_RW_SO_FUNCTIONS,
    CKN_SURRENDER,
    CKF_LIBRARY_CANT_CREATE_OS_THREADS, CKF_OS_LOCKING_OK, CKF_INTERFACE_FORK_SAFE, CKF_DONT_BLOCK,
    CKF_RW_SESSION, CKF_SERIAL_SESSION,
    CKF_TOKEN_PRESENT, CKF_REMOVABLE_DEVICE, CKF_HW_SLOT,
    CKF_RNG, CKF_WRITE_PROTECTED, CKF_LOGIN_REQUIRED, CKF_USER_PIN_INITIALIZED, CKF_RESTORE_KEY_NOT_NEEDED, CKF_CLOCK_ON_TOKEN,
    CKF_PROTECTED_AUTHENTICATION_PATH, CKF_DUAL_CRYPTO_OPERATIONS, CKF_TOKEN_INITIALIZED, CKF_SECONDARY_AUTHENTICATION,
    CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED, CKF_USER_PIN_TO_BE_CHANGED,
    CKF_SO_PIN_COUNT_LOW, CKF_SO_PIN_FINAL_TRY, CKF_SO_PIN_LOCKED, CKF_SO_PIN_TO_BE_CHANGED, CKF_ERROR_STATE,
    CKF_HW, CKF_ENCRYPT, CKF_DECRYPT, CKF_DIGEST, CKF_SIGN, CKF_SIGN_RECOVER, CKF_VERIFY, CKF_VERIFY_RECOVER, CKF_GENERATE,
    CKF_GENERATE_KEY_PAIR, CKF_WRAP, CKF_UNWRAP, CKF_DERIVE, CKF_EC_F_P, CKF_EC_F_2M, CKF_EC_ECPARAMETERS, CKF_EC_NAMEDCURVE,
    CKF_EC_UNCOMPRESS, CKF_EC_COMPRESS, CKF_MESSAGE_ENCRYPT, CKF_MESSAGE_DECRYPT, CKF_MESSAGE_SIGN, CKF_MESSAGE_VERIFY,
    CKF_FIND_OBJECTS, CKF_ENCAPSULATE, CKF_DECAPSULATE, CKF_EXTENSION, CKF_ARRAY_ATTRIBUTE, CKF_END_OF_MESSAGE,
    CKZ_DATA_SPECIFIED,
    CK_CERTIFICATE_CATEGORY_UNSPECIFIED, CK_CERTIFICATE_CATEGORY_TOKEN_USER, CK_CERTIFICATE_CATEGORY_AUTHORITY,
    CK_CERTIFICATE_CATEGORY_OTHER_ENTITY, CK_SECURITY_DOMAIN_UNSPECIFIED, CK_SECURITY_DOMAIN_MANUFACTURER,
    CK_SECURITY_DOMAIN_OPERATOR, CK_SECURITY_DOMAIN_THIRD_PARTY,
}

structures! {
    CK_VERSION { CK_BYTE major, CK_BYTE minor }
    CK_INFO {
        CK_VERSION cryptokiVersion, CK_UTF8CHAR manufacturerID[32], CK_FLAGS flags, CK_UTF8CHAR libraryDescription[32],
        CK_VERSION libraryVersion,
    }
    CK_SLOT_INFO {
        CK_UTF8CHAR slotDescription[64], CK_UTF8CHAR manufacturerID[32], CK_FLAGS flags, CK_VERSION hardwareVersion,
        CK_VERSION firmwareVersion,
    }
    CK_TOKEN_INFO {
        CK_UTF8CHAR label[32], CK_UTF8CHAR manufacturerID[32], CK_UTF8CHAR model[16], CK_CHAR serialNumber[16], CK_FLAGS flags,
        CK_ULONG ulMaxSessionCount, CK_ULONG ulSessionCount, CK_ULONG ulMaxRwSessionCount, CK_ULONG ulRwSessionCount,
        CK_ULONG ulMaxPinLen, CK_ULONG ulMinPinLen, CK_ULONG ulTotalPublicMemory, CK_ULONG ulFreePublicMemory,
        CK_ULONG ulTotalPrivateMemory, CK_ULONG ulFreePrivateMemory, CK_VERSION hardwareVersion, CK_VERSION firmwareVersion,
        CK_CHAR utcTime[16],
    }
    CK_SESSION_INFO { CK_SLOT_ID slotID, CK_STATE state, CK_FLAGS flags, CK_ULONG ulDeviceError }
    CK_MECHANISM_INFO { CK_ULONG ulMinKeySize, CK_ULONG ulMaxKeySize, CK_FLAGS flags }
    CK_ATTRIBUTE { CK_ATTRIBUTE_TYPE type_, CK_VOID_PTR pValue, CK_ULONG ulValueLen }
    CK_DATE { CK_CHAR year[4], CK_CHAR month[2], CK_CHAR day[2] }
    CK_MECHANISM { CK_MECHANISM_TYPE mechanism, CK_VOID_PTR pParameter, CK_ULONG ulParameterLen }
    CK_C_INITIALIZE_ARGS {
        CK_CREATEMUTEX CreateMutex, CK_DESTROYMUTEX DestroyMutex, CK_LOCKMUTEX LockMutex, CK_UNLOCKMUTEX UnlockMutex,
        CK_FLAGS flags, CK_VOID_PTR pReserved,
    }
    CK_INTERFACE { CK_UTF8CHAR_PTR pInterfaceName, CK_VOID_PTR pFunctionList, CK_FLAGS flags }
    CK_ASYNC_DATA {
        CK_ULONG ulVersion, CK_BYTE_PTR pValue, CK_ULONG ulValue, CK_OBJECT_HANDLE hObject, CK_OBJECT_HANDLE hAdditionalObject,
    }
    CK_GCM_PARAMS {
        CK_BYTE_PTR pIv, CK_ULONG ulIvLen, CK_ULONG ulIvBits, CK_BYTE_PTR pAAD, CK_ULONG ulAADLen, CK_ULONG ulTagBits,
    }
    CK_CCM_PARAMS {
        CK_ULONG ulDataLen, CK_BYTE_PTR pNonce, CK_ULONG ulNonceLen, CK_BYTE_PTR pAAD, CK_ULONG ulAADLen, CK_ULONG ulMACLen,
    }
    CK_AES_CTR_PARAMS { CK_ULONG ulCounterBits, CK_BYTE cb[16] }
    CK_AES_CBC_ENCRYPT_DATA_PARAMS { CK_BYTE iv[16], CK_BYTE_PTR pData, CK_ULONG length }
    CK_DES_CBC_ENCRYPT_DATA_PARAMS { CK_BYTE iv[8], CK_BYTE_PTR pData, CK_ULONG length }
    CK_RSA_PKCS_OAEP_PARAMS {
        CK_MECHANISM_TYPE hashAlg, CK_RSA_PKCS_MGF_TYPE mgf, CK_RSA_PKCS_OAEP_SOURCE_TYPE source, CK_VOID_PTR pSourceData,
        CK_ULONG ulSourceDataLen,
    }
    CK_RSA_PKCS_PSS_PARAMS { CK_MECHANISM_TYPE hashAlg, CK_RSA_PKCS_MGF_TYPE mgf, CK_ULONG sLen }
    CK_RSA_AES_KEY_WRAP_PARAMS { CK_ULONG ulAESKeyBits, CK_RSA_PKCS_OAEP_PARAMS_PTR pOAEPParams }
    CK_ECDH1_DERIVE_PARAMS {
        CK_EC_KDF_TYPE kdf, CK_ULONG ulSharedDataLen, CK_BYTE_PTR pSharedData, CK_ULONG ulPublicDataLen, CK_BYTE_PTR pPublicData,
    }
    CK_EDDSA_PARAMS { CK_BBOOL phFlag, CK_ULONG ulContextDataLen, CK_BYTE_PTR pContextData }
    CK_KEY_DERIVATION_STRING_DATA { CK_BYTE_PTR pData, CK_ULONG ulLen }
}

/// The whole header.
pub fn text() -> String {
    let mut out = String::new();
    write_all(&mut out).expect("writing to a string cannot fail");
    out
}

fn write_all(out: &mut String) -> Result {
    out.push_str(OPENING);
    write_types(out)?;
    out.push_str("\n/* Constants */\n\n");
    for (name, number) in CONSTANTS {
        write_constant(out, name, *number)?;
    }
    let tables: [(&str, Vec<(u64, &str)>); 8] = [
        ("Object classes", ObjectClass::NAMES.iter().map(|(it, name)| (it.0, *name)).collect()),
        ("Key types", KeyType::NAMES.iter().map(|(it, name)| (it.0, *name)).collect()),
        ("Certificate types", CertificateType::NAMES.iter().map(|(it, name)| (it.0, *name)).collect()),
        ("Attributes", AttributeType::NAMES.iter().map(|(it, name)| (it.0, *name)).collect()),
        ("Mechanisms", MechanismType::NAMES.iter().map(|(it, name)| (it.0, *name)).collect()),
        ("Mask generation functions", Mgf::NAMES.iter().map(|(it, name)| (it.0, *name)).collect()),
        ("Key derivation functions", Kdf::NAMES.iter().map(|(it, name)| (it.0, *name)).collect()),
        ("Return values", Rv::NAMES.iter().map(|(it, name)| (it.0, *name)).collect()),
    ];
    for (title, rows) in tables {
        writeln!(out, "\n/* {title} */\n")?;
        for (number, name) in rows {
            write_constant(out, name, number)?;
        }
    }
    out.push_str(
        "\n/* Return values of this module: the configuration is wrong; the store on disk is refused. The log says why. */\n\n",
    );
    write_constant(out, "CKR_HSMPOOL_CONFIGURATION", CONFIGURATION.0)?;
    write_constant(out, "CKR_HSMPOOL_STORE_REFUSED", STORE_REFUSED.0)?;
    write_structures(out)?;
    write_functions(out)?;
    out.push_str(CLOSING);
    Ok(())
}

const OPENING: &str = "\
/* The C interface of the hsmpool module: PKCS#11 2.40, 3.0 and 3.2.
 *
 * Generated from the module's own tables; `HSMPOOL_BLESS=1 cargo test --lib ffi::header` writes it anew. Do not edit.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef HSMPOOL_H
#define HSMPOOL_H

#include <stddef.h>

#ifdef __cplusplus
extern \"C\" {
#endif

/* Types */

#define NULL_PTR NULL

typedef unsigned char CK_BYTE;
typedef CK_BYTE CK_CHAR;
typedef CK_BYTE CK_UTF8CHAR;
typedef CK_BYTE CK_BBOOL;
typedef unsigned long CK_ULONG;
typedef long CK_LONG;
typedef void *CK_VOID_PTR;
typedef CK_VOID_PTR *CK_VOID_PTR_PTR;
typedef CK_BYTE *CK_BYTE_PTR;
typedef CK_CHAR *CK_CHAR_PTR;
typedef CK_UTF8CHAR *CK_UTF8CHAR_PTR;
typedef CK_BBOOL *CK_BBOOL_PTR;
typedef CK_ULONG *CK_ULONG_PTR;
";

const CLOSING: &str = "
#ifdef __cplusplus
}
#endif

#endif
";

fn write_types(out: &mut String) -> Result {
    for name in NUMBERS {
        writeln!(out, "typedef CK_ULONG {name};\ntypedef {name} *{name}_PTR;")?;
    }
    out.push_str(
        "\
typedef CK_RV (*CK_NOTIFY)(CK_SESSION_HANDLE session, CK_NOTIFICATION event, CK_VOID_PTR application);
typedef CK_RV (*CK_CREATEMUTEX)(CK_VOID_PTR_PTR mutex);
typedef CK_RV (*CK_DESTROYMUTEX)(CK_VOID_PTR mutex);
typedef CK_RV (*CK_LOCKMUTEX)(CK_VOID_PTR mutex);
typedef CK_RV (*CK_UNLOCKMUTEX)(CK_VOID_PTR mutex);
",
    );
    Ok(())
}

fn write_constant(out: &mut String, name: &str, number: u64) -> Result {
    match number {
        u64::MAX => writeln!(out, "#define {name} (~0UL)"),
        0..=9 => writeln!(out, "#define {name} {number}UL"),
        _ => writeln!(out, "#define {name} {number:#010x}UL"),
    }
}

fn write_structures(out: &mut String) -> Result {
    out.push_str("\n/* Structures */\n");
    for (name, fields) in STRUCTURES {
        writeln!(out, "\ntypedef struct {name} {{")?;
        for (kind, field, len) in *fields {
            // A field that is a keyword in Rust has an underscore there.
            let field = field.trim_end_matches('_');
            match len {
                0 => writeln!(out, "    {kind} {field};")?,
                len => writeln!(out, "    {kind} {field}[{len}];")?,
            }
        }
        writeln!(out, "}} {name};\ntypedef {name} *{name}_PTR;")?;
    }
    out.push_str("typedef CK_INTERFACE_PTR *CK_INTERFACE_PTR_PTR;\n");
    Ok(())
}

/// The function lists: name, the functions in it.
const LISTS: [(&str, Since); 3] =
    [("CK_FUNCTION_LIST", Since::V2_40), ("CK_FUNCTION_LIST_3_0", Since::V3_0), ("CK_FUNCTION_LIST_3_2", Since::V3_2)];

fn write_functions(out: &mut String) -> Result {
    out.push_str("\n/* Functions */\n\n");
    for (list, _) in LISTS {
        writeln!(out, "typedef struct {list} {list};\ntypedef {list} *{list}_PTR;\ntypedef {list}_PTR *{list}_PTR_PTR;")?;
    }
    for function in FUNCTIONS {
        let parameters: Vec<String> = function.parameters.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
        let (name, parameters) = (function.name, parameters.join(", "));
        writeln!(out, "\ntypedef CK_RV (*CK_{name})({parameters});\nCK_RV {name}({parameters});")?;
    }
    for (list, version) in LISTS {
        writeln!(out, "\nstruct {list} {{\n    CK_VERSION version;")?;
        for function in FUNCTIONS.iter().filter(|function| function.since <= version) {
            writeln!(out, "    CK_{0} {0};", function.name)?;
        }
        out.push_str("};\n");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_header_in_the_tree_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/hsmpool.h");
        if std::env::var_os("HSMPOOL_BLESS").is_some() {
            std::fs::write(&path, super::text()).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == super::text(),
            "{path:?} is stale: run HSMPOOL_BLESS=1 cargo test --lib ffi::header and commit the file"
        );
    }
}
