//! The return values that the standard lists for each function, and the table that shows which of them the cases provoked.
//!
//! The lists are those of 3.1, section 5 (3.2 for its own functions), without the codes that a caller cannot bring about or
//! that 5.1.1 allows to every function: general failures, memory, the device's troubles and cancellation by callback.

use std::collections::BTreeSet;
use std::fmt::Write;

use cryptoki_sys::CK_RV;

use crate::names;
use crate::provoked::Provoked;

/// Codes after which the table has no need of the prefix `CKR_`.
const NEEDS_SESSION: &str = "CRYPTOKI_NOT_INITIALIZED SESSION_HANDLE_INVALID";

/// One function: its name, whether it takes a session (and so may answer what every such function may), its own codes.
struct Row(&'static str, bool, &'static str);

const KEYED_INIT: &str = "ARGUMENTS_BAD KEY_FUNCTION_NOT_PERMITTED KEY_HANDLE_INVALID KEY_SIZE_RANGE KEY_TYPE_INCONSISTENT \
     MECHANISM_INVALID MECHANISM_PARAM_INVALID OPERATION_ACTIVE USER_NOT_LOGGED_IN";
const SEAL: &str = "ARGUMENTS_BAD BUFFER_TOO_SMALL DATA_INVALID DATA_LEN_RANGE OPERATION_NOT_INITIALIZED USER_NOT_LOGGED_IN";
const OPEN: &str = "ARGUMENTS_BAD BUFFER_TOO_SMALL ENCRYPTED_DATA_INVALID ENCRYPTED_DATA_LEN_RANGE OPERATION_NOT_INITIALIZED \
     USER_NOT_LOGGED_IN";
const DIGEST: &str = "ARGUMENTS_BAD BUFFER_TOO_SMALL OPERATION_NOT_INITIALIZED";
const VERIFY: &str = "ARGUMENTS_BAD DATA_INVALID DATA_LEN_RANGE OPERATION_NOT_INITIALIZED SIGNATURE_INVALID SIGNATURE_LEN_RANGE";
const DUAL: &str = "ARGUMENTS_BAD BUFFER_TOO_SMALL OPERATION_NOT_INITIALIZED";
const MAKE: &str = "ARGUMENTS_BAD ATTRIBUTE_READ_ONLY ATTRIBUTE_TYPE_INVALID ATTRIBUTE_VALUE_INVALID SESSION_READ_ONLY \
     TEMPLATE_INCOMPLETE TEMPLATE_INCONSISTENT USER_NOT_LOGGED_IN";

const ROWS: &[Row] = &[
    Row("C_Initialize", false, "ARGUMENTS_BAD CANT_LOCK CRYPTOKI_ALREADY_INITIALIZED"),
    Row("C_Finalize", false, "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED"),
    Row("C_GetInfo", false, "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED"),
    Row("C_GetFunctionList", false, "ARGUMENTS_BAD"),
    Row("C_GetInterfaceList", false, "ARGUMENTS_BAD BUFFER_TOO_SMALL"),
    Row("C_GetInterface", false, "ARGUMENTS_BAD FUNCTION_FAILED"),
    Row("C_GetSlotList", false, "ARGUMENTS_BAD BUFFER_TOO_SMALL CRYPTOKI_NOT_INITIALIZED"),
    Row("C_GetSlotInfo", false, "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED SLOT_ID_INVALID"),
    Row("C_GetTokenInfo", false, "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED SLOT_ID_INVALID TOKEN_NOT_PRESENT"),
    Row("C_WaitForSlotEvent", false, "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED NO_EVENT"),
    Row("C_GetMechanismList", false, "ARGUMENTS_BAD BUFFER_TOO_SMALL CRYPTOKI_NOT_INITIALIZED SLOT_ID_INVALID TOKEN_NOT_PRESENT"),
    Row(
        "C_GetMechanismInfo",
        false,
        "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED MECHANISM_INVALID SLOT_ID_INVALID TOKEN_NOT_PRESENT",
    ),
    Row("C_InitToken", false, "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED PIN_INCORRECT PIN_LOCKED SESSION_EXISTS SLOT_ID_INVALID"),
    Row("C_InitPIN", true, "ARGUMENTS_BAD PIN_INVALID PIN_LEN_RANGE SESSION_READ_ONLY USER_NOT_LOGGED_IN"),
    Row("C_SetPIN", true, "ARGUMENTS_BAD PIN_INCORRECT PIN_INVALID PIN_LEN_RANGE PIN_LOCKED SESSION_READ_ONLY"),
    Row(
        "C_OpenSession",
        false,
        "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED SESSION_COUNT SESSION_PARALLEL_NOT_SUPPORTED SESSION_READ_WRITE_SO_EXISTS \
         SLOT_ID_INVALID TOKEN_NOT_PRESENT",
    ),
    Row("C_CloseSession", true, ""),
    Row("C_CloseAllSessions", false, "CRYPTOKI_NOT_INITIALIZED SLOT_ID_INVALID"),
    Row("C_GetSessionInfo", true, "ARGUMENTS_BAD"),
    Row("C_SessionCancel", true, "OPERATION_CANCEL_FAILED"),
    Row("C_GetOperationState", true, "ARGUMENTS_BAD BUFFER_TOO_SMALL OPERATION_NOT_INITIALIZED STATE_UNSAVEABLE"),
    Row("C_SetOperationState", true, "ARGUMENTS_BAD KEY_CHANGED KEY_NEEDED KEY_NOT_NEEDED SAVED_STATE_INVALID"),
    Row(
        "C_Login",
        true,
        "ARGUMENTS_BAD OPERATION_NOT_INITIALIZED PIN_INCORRECT PIN_LOCKED SESSION_READ_ONLY_EXISTS USER_ALREADY_LOGGED_IN \
         USER_ANOTHER_ALREADY_LOGGED_IN USER_PIN_NOT_INITIALIZED USER_TYPE_INVALID",
    ),
    Row("C_LoginUser", true, "ARGUMENTS_BAD PIN_INCORRECT PIN_LOCKED USER_ALREADY_LOGGED_IN USER_TYPE_INVALID"),
    Row("C_Logout", true, "USER_NOT_LOGGED_IN"),
    Row("C_CreateObject", true, MAKE),
    Row(
        "C_CopyObject",
        true,
        "ACTION_PROHIBITED ARGUMENTS_BAD ATTRIBUTE_READ_ONLY ATTRIBUTE_TYPE_INVALID ATTRIBUTE_VALUE_INVALID \
         OBJECT_HANDLE_INVALID SESSION_READ_ONLY TEMPLATE_INCONSISTENT USER_NOT_LOGGED_IN",
    ),
    Row("C_DestroyObject", true, "ACTION_PROHIBITED OBJECT_HANDLE_INVALID SESSION_READ_ONLY"),
    Row("C_GetObjectSize", true, "ARGUMENTS_BAD INFORMATION_SENSITIVE OBJECT_HANDLE_INVALID"),
    Row(
        "C_GetAttributeValue",
        true,
        "ARGUMENTS_BAD ATTRIBUTE_SENSITIVE ATTRIBUTE_TYPE_INVALID BUFFER_TOO_SMALL OBJECT_HANDLE_INVALID",
    ),
    Row(
        "C_SetAttributeValue",
        true,
        "ACTION_PROHIBITED ARGUMENTS_BAD ATTRIBUTE_READ_ONLY ATTRIBUTE_TYPE_INVALID \
         ATTRIBUTE_VALUE_INVALID OBJECT_HANDLE_INVALID SESSION_READ_ONLY TEMPLATE_INCONSISTENT USER_NOT_LOGGED_IN",
    ),
    Row("C_FindObjectsInit", true, "ARGUMENTS_BAD ATTRIBUTE_TYPE_INVALID ATTRIBUTE_VALUE_INVALID OPERATION_ACTIVE"),
    Row("C_FindObjects", true, "ARGUMENTS_BAD OPERATION_NOT_INITIALIZED"),
    Row("C_FindObjectsFinal", true, "OPERATION_NOT_INITIALIZED"),
    Row("C_EncryptInit", true, KEYED_INIT),
    Row("C_Encrypt", true, SEAL),
    Row("C_EncryptUpdate", true, SEAL),
    Row("C_EncryptFinal", true, "ARGUMENTS_BAD BUFFER_TOO_SMALL DATA_LEN_RANGE OPERATION_NOT_INITIALIZED"),
    Row("C_DecryptInit", true, KEYED_INIT),
    Row("C_Decrypt", true, OPEN),
    Row("C_DecryptUpdate", true, OPEN),
    Row("C_DecryptFinal", true, OPEN),
    Row("C_DigestInit", true, "ARGUMENTS_BAD MECHANISM_INVALID MECHANISM_PARAM_INVALID OPERATION_ACTIVE"),
    Row("C_Digest", true, DIGEST),
    Row("C_DigestUpdate", true, "ARGUMENTS_BAD OPERATION_NOT_INITIALIZED"),
    Row("C_DigestKey", true, "KEY_HANDLE_INVALID KEY_INDIGESTIBLE KEY_SIZE_RANGE OPERATION_NOT_INITIALIZED"),
    Row("C_DigestFinal", true, DIGEST),
    Row("C_SignInit", true, KEYED_INIT),
    Row("C_Sign", true, SEAL),
    Row("C_SignUpdate", true, "ARGUMENTS_BAD DATA_LEN_RANGE OPERATION_NOT_INITIALIZED USER_NOT_LOGGED_IN"),
    Row("C_SignFinal", true, "ARGUMENTS_BAD BUFFER_TOO_SMALL DATA_LEN_RANGE OPERATION_NOT_INITIALIZED USER_NOT_LOGGED_IN"),
    Row("C_SignRecoverInit", true, KEYED_INIT),
    Row("C_SignRecover", true, SEAL),
    Row("C_VerifyInit", true, KEYED_INIT),
    Row("C_Verify", true, VERIFY),
    Row("C_VerifyUpdate", true, "ARGUMENTS_BAD DATA_LEN_RANGE OPERATION_NOT_INITIALIZED"),
    Row("C_VerifyFinal", true, "ARGUMENTS_BAD DATA_LEN_RANGE OPERATION_NOT_INITIALIZED SIGNATURE_INVALID SIGNATURE_LEN_RANGE"),
    Row("C_VerifyRecoverInit", true, KEYED_INIT),
    Row(
        "C_VerifyRecover",
        true,
        "ARGUMENTS_BAD BUFFER_TOO_SMALL OPERATION_NOT_INITIALIZED SIGNATURE_INVALID SIGNATURE_LEN_RANGE",
    ),
    Row("C_DigestEncryptUpdate", true, DUAL),
    Row("C_DecryptDigestUpdate", true, DUAL),
    Row("C_SignEncryptUpdate", true, DUAL),
    Row("C_DecryptVerifyUpdate", true, DUAL),
    Row(
        "C_GenerateKey",
        true,
        "ARGUMENTS_BAD ATTRIBUTE_READ_ONLY ATTRIBUTE_TYPE_INVALID ATTRIBUTE_VALUE_INVALID KEY_SIZE_RANGE \
         MECHANISM_INVALID MECHANISM_PARAM_INVALID SESSION_READ_ONLY TEMPLATE_INCOMPLETE TEMPLATE_INCONSISTENT USER_NOT_LOGGED_IN",
    ),
    Row(
        "C_GenerateKeyPair",
        true,
        "ARGUMENTS_BAD ATTRIBUTE_READ_ONLY ATTRIBUTE_TYPE_INVALID ATTRIBUTE_VALUE_INVALID \
         CURVE_NOT_SUPPORTED DOMAIN_PARAMS_INVALID KEY_SIZE_RANGE MECHANISM_INVALID MECHANISM_PARAM_INVALID SESSION_READ_ONLY \
         TEMPLATE_INCOMPLETE TEMPLATE_INCONSISTENT USER_NOT_LOGGED_IN",
    ),
    Row(
        "C_WrapKey",
        true,
        "ARGUMENTS_BAD BUFFER_TOO_SMALL KEY_HANDLE_INVALID KEY_NOT_WRAPPABLE KEY_SIZE_RANGE KEY_UNEXTRACTABLE \
         KEY_FUNCTION_NOT_PERMITTED MECHANISM_INVALID MECHANISM_PARAM_INVALID USER_NOT_LOGGED_IN WRAPPING_KEY_HANDLE_INVALID \
         WRAPPING_KEY_SIZE_RANGE WRAPPING_KEY_TYPE_INCONSISTENT",
    ),
    Row(
        "C_UnwrapKey",
        true,
        "ARGUMENTS_BAD ATTRIBUTE_READ_ONLY ATTRIBUTE_TYPE_INVALID ATTRIBUTE_VALUE_INVALID \
         KEY_FUNCTION_NOT_PERMITTED MECHANISM_INVALID MECHANISM_PARAM_INVALID SESSION_READ_ONLY TEMPLATE_INCOMPLETE \
         TEMPLATE_INCONSISTENT UNWRAPPING_KEY_HANDLE_INVALID UNWRAPPING_KEY_SIZE_RANGE UNWRAPPING_KEY_TYPE_INCONSISTENT \
         USER_NOT_LOGGED_IN WRAPPED_KEY_INVALID WRAPPED_KEY_LEN_RANGE",
    ),
    Row(
        "C_DeriveKey",
        true,
        "ARGUMENTS_BAD ATTRIBUTE_READ_ONLY ATTRIBUTE_TYPE_INVALID ATTRIBUTE_VALUE_INVALID \
         KEY_FUNCTION_NOT_PERMITTED KEY_HANDLE_INVALID KEY_SIZE_RANGE KEY_TYPE_INCONSISTENT MECHANISM_INVALID \
         MECHANISM_PARAM_INVALID SESSION_READ_ONLY TEMPLATE_INCOMPLETE TEMPLATE_INCONSISTENT USER_NOT_LOGGED_IN",
    ),
    Row("C_SeedRandom", true, "ARGUMENTS_BAD OPERATION_ACTIVE RANDOM_NO_RNG RANDOM_SEED_NOT_SUPPORTED"),
    Row("C_GenerateRandom", true, "ARGUMENTS_BAD OPERATION_ACTIVE RANDOM_NO_RNG"),
    Row("C_GetFunctionStatus", true, "FUNCTION_NOT_PARALLEL"),
    Row("C_CancelFunction", true, "FUNCTION_NOT_PARALLEL"),
    Row("C_MessageEncryptInit", true, KEYED_INIT),
    Row("C_EncryptMessage", true, SEAL),
    Row("C_MessageEncryptFinal", true, "OPERATION_NOT_INITIALIZED"),
    Row("C_MessageDecryptInit", true, KEYED_INIT),
    Row("C_DecryptMessage", true, "ARGUMENTS_BAD AEAD_DECRYPT_FAILED BUFFER_TOO_SMALL OPERATION_NOT_INITIALIZED"),
    Row("C_MessageDecryptFinal", true, "OPERATION_NOT_INITIALIZED"),
    Row("C_MessageSignInit", true, KEYED_INIT),
    Row("C_SignMessage", true, SEAL),
    Row("C_MessageSignFinal", true, "OPERATION_NOT_INITIALIZED"),
    Row("C_MessageVerifyInit", true, KEYED_INIT),
    Row("C_VerifyMessage", true, VERIFY),
    Row("C_MessageVerifyFinal", true, "OPERATION_NOT_INITIALIZED"),
    Row("C_EncapsulateKey", true, "ARGUMENTS_BAD BUFFER_TOO_SMALL KEY_HANDLE_INVALID MECHANISM_INVALID TEMPLATE_INCOMPLETE"),
    Row("C_DecapsulateKey", true, "ARGUMENTS_BAD KEY_HANDLE_INVALID MECHANISM_INVALID TEMPLATE_INCOMPLETE WRAPPED_KEY_LEN_RANGE"),
    Row("C_VerifySignatureInit", true, KEYED_INIT),
    Row("C_VerifySignature", true, VERIFY),
    Row("C_GetSessionValidationFlags", true, "ARGUMENTS_BAD"),
];

/// How many pairs of function and code the standard lists, and how many of them were provoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// In the table.
    pub listed: usize,
    /// Of these, seen.
    pub seen: usize,
}

impl Row {
    /// The names without `CKR_`, `OK` first.
    fn codes(&self) -> impl Iterator<Item = &'static str> {
        let shared = if self.1 { NEEDS_SESSION } else { "" };
        ["OK"].into_iter().chain(self.2.split_whitespace()).chain(shared.split_whitespace())
    }
}

fn short(code: CK_RV) -> String {
    names::rv(code).and_then(|name| name.strip_prefix("CKR_")).map_or_else(|| format!("{code:#x}"), str::to_owned)
}

/// The table: what each function's list names and was seen, the holes, and what came that no list names.
pub fn table(provoked: &Provoked) -> (String, Count) {
    let (mut text, mut all) = (String::new(), Count::default());
    let none = BTreeSet::new();
    for row in ROWS {
        let seen: BTreeSet<String> = provoked.get(row.0).unwrap_or(&none).iter().map(|code| short(*code)).collect();
        let listed: BTreeSet<&str> = row.codes().collect();
        let (came, holes): (Vec<&str>, Vec<&str>) = listed.iter().copied().partition(|code| seen.contains(*code));
        let others: Vec<&str> = seen.iter().map(String::as_str).filter(|code| !listed.contains(code)).collect();
        all.listed += listed.len();
        all.seen += came.len();
        let _ = writeln!(text, "{:<28} {:>2}/{:<2} {}", row.0, came.len(), listed.len(), came.join(" "));
        for (label, codes) in [("hole:", holes), ("beside the list:", others)] {
            if !codes.is_empty() {
                let _ = writeln!(text, "{:>34} {label} {}", "", codes.join(" "));
            }
        }
    }
    let _ = writeln!(text, "{} of {} listed pairs of function and return value were provoked", all.seen, all.listed);
    (text, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_code_is_a_known_name() {
        let known: BTreeSet<String> = (0..0x300).map(short).collect();
        for row in ROWS {
            for code in row.codes() {
                assert!(known.contains(code), "{} lists {code}", row.0);
            }
        }
    }

    #[test]
    fn functions_come_once() {
        let names: BTreeSet<&str> = ROWS.iter().map(|row| row.0).collect();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn the_table_counts_what_was_seen_and_shows_the_rest() {
        let provoked = Provoked::from([("C_GetInfo".to_owned(), BTreeSet::from([0, 7, 6]))]);
        let (text, count) = table(&provoked);
        assert_eq!(count.seen, 2);
        let line = text.lines().position(|line| line.starts_with("C_GetInfo")).expect("the function is listed");
        let lines: Vec<&str> = text.lines().skip(line).take(3).map(str::trim).collect();
        assert_eq!(lines[0], "C_GetInfo                     2/3  ARGUMENTS_BAD OK");
        assert_eq!(lines[1], "hole: CRYPTOKI_NOT_INITIALIZED");
        assert_eq!(lines[2], "beside the list: FUNCTION_FAILED");
    }
}
