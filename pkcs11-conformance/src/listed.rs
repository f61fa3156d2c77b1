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

/// One function: its name, its section, whether it takes a session (and so may answer what every such function may), its own codes.
struct Row(&'static str, &'static str, bool, &'static str);

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

const BEGIN: &str = "MECHANISM_PARAM_INVALID OPERATION_ACTIVE OPERATION_NOT_INITIALIZED USER_NOT_LOGGED_IN";
const END: &str = "OPERATION_ACTIVE OPERATION_NOT_INITIALIZED";

const ROWS: &[Row] = &[
    Row("C_Initialize", "5.4.1", false, "ARGUMENTS_BAD CANT_LOCK CRYPTOKI_ALREADY_INITIALIZED"),
    Row("C_Finalize", "5.4.2", false, "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED"),
    Row("C_GetInfo", "5.4.3", false, "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED"),
    Row("C_GetFunctionList", "5.4.4", false, "ARGUMENTS_BAD"),
    Row("C_GetInterfaceList", "5.4.5", false, "ARGUMENTS_BAD BUFFER_TOO_SMALL"),
    Row("C_GetInterface", "5.4.6", false, "ARGUMENTS_BAD FUNCTION_FAILED"),
    Row("C_GetSlotList", "5.5.1", false, "ARGUMENTS_BAD BUFFER_TOO_SMALL CRYPTOKI_NOT_INITIALIZED"),
    Row("C_GetSlotInfo", "5.5.2", false, "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED SLOT_ID_INVALID"),
    Row("C_GetTokenInfo", "5.5.3", false, "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED SLOT_ID_INVALID TOKEN_NOT_PRESENT"),
    Row("C_WaitForSlotEvent", "5.5.4", false, "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED NO_EVENT"),
    Row(
        "C_GetMechanismList",
        "5.5.5",
        false,
        "ARGUMENTS_BAD BUFFER_TOO_SMALL CRYPTOKI_NOT_INITIALIZED SLOT_ID_INVALID TOKEN_NOT_PRESENT",
    ),
    Row(
        "C_GetMechanismInfo",
        "5.5.6",
        false,
        "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED MECHANISM_INVALID SLOT_ID_INVALID TOKEN_NOT_PRESENT",
    ),
    Row(
        "C_InitToken",
        "5.5.7",
        false,
        "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED PIN_INCORRECT PIN_LOCKED SESSION_EXISTS SLOT_ID_INVALID",
    ),
    Row("C_InitPIN", "5.5.8", true, "ARGUMENTS_BAD PIN_INVALID PIN_LEN_RANGE SESSION_READ_ONLY USER_NOT_LOGGED_IN"),
    Row("C_SetPIN", "5.5.9", true, "ARGUMENTS_BAD PIN_INCORRECT PIN_INVALID PIN_LEN_RANGE PIN_LOCKED SESSION_READ_ONLY"),
    Row(
        "C_OpenSession",
        "5.6.1",
        false,
        "ARGUMENTS_BAD CRYPTOKI_NOT_INITIALIZED SESSION_COUNT SESSION_PARALLEL_NOT_SUPPORTED SESSION_READ_WRITE_SO_EXISTS \
         SLOT_ID_INVALID TOKEN_NOT_PRESENT",
    ),
    Row("C_CloseSession", "5.6.2", true, ""),
    Row("C_CloseAllSessions", "5.6.3", false, "CRYPTOKI_NOT_INITIALIZED SLOT_ID_INVALID"),
    Row("C_GetSessionInfo", "5.6.4", true, "ARGUMENTS_BAD"),
    Row("C_SessionCancel", "5.6.5", true, "OPERATION_CANCEL_FAILED"),
    Row("C_GetOperationState", "5.6.6", true, "ARGUMENTS_BAD BUFFER_TOO_SMALL OPERATION_NOT_INITIALIZED STATE_UNSAVEABLE"),
    Row("C_SetOperationState", "5.6.7", true, "ARGUMENTS_BAD KEY_CHANGED KEY_NEEDED KEY_NOT_NEEDED SAVED_STATE_INVALID"),
    Row(
        "C_Login",
        "5.6.8",
        true,
        "ARGUMENTS_BAD OPERATION_NOT_INITIALIZED PIN_INCORRECT PIN_LOCKED SESSION_READ_ONLY_EXISTS USER_ALREADY_LOGGED_IN \
         USER_ANOTHER_ALREADY_LOGGED_IN USER_PIN_NOT_INITIALIZED USER_TYPE_INVALID",
    ),
    Row("C_LoginUser", "5.6.9", true, "ARGUMENTS_BAD PIN_INCORRECT PIN_LOCKED USER_ALREADY_LOGGED_IN USER_TYPE_INVALID"),
    Row("C_Logout", "5.6.10", true, "USER_NOT_LOGGED_IN"),
    Row("C_CreateObject", "5.7.1", true, MAKE),
    Row(
        "C_CopyObject",
        "5.7.2",
        true,
        "ACTION_PROHIBITED ARGUMENTS_BAD ATTRIBUTE_READ_ONLY ATTRIBUTE_TYPE_INVALID ATTRIBUTE_VALUE_INVALID \
         OBJECT_HANDLE_INVALID SESSION_READ_ONLY TEMPLATE_INCONSISTENT USER_NOT_LOGGED_IN",
    ),
    Row("C_DestroyObject", "5.7.3", true, "ACTION_PROHIBITED OBJECT_HANDLE_INVALID SESSION_READ_ONLY"),
    Row("C_GetObjectSize", "5.7.4", true, "ARGUMENTS_BAD INFORMATION_SENSITIVE OBJECT_HANDLE_INVALID"),
    Row(
        "C_GetAttributeValue",
        "5.7.5",
        true,
        "ARGUMENTS_BAD ATTRIBUTE_SENSITIVE ATTRIBUTE_TYPE_INVALID BUFFER_TOO_SMALL OBJECT_HANDLE_INVALID",
    ),
    Row(
        "C_SetAttributeValue",
        "5.7.6",
        true,
        "ACTION_PROHIBITED ARGUMENTS_BAD ATTRIBUTE_READ_ONLY ATTRIBUTE_TYPE_INVALID \
         ATTRIBUTE_VALUE_INVALID OBJECT_HANDLE_INVALID SESSION_READ_ONLY TEMPLATE_INCONSISTENT USER_NOT_LOGGED_IN",
    ),
    Row("C_FindObjectsInit", "5.7.7", true, "ARGUMENTS_BAD ATTRIBUTE_TYPE_INVALID ATTRIBUTE_VALUE_INVALID OPERATION_ACTIVE"),
    Row("C_FindObjects", "5.7.8", true, "ARGUMENTS_BAD OPERATION_NOT_INITIALIZED"),
    Row("C_FindObjectsFinal", "5.7.9", true, "OPERATION_NOT_INITIALIZED"),
    Row("C_EncryptInit", "5.8.1", true, KEYED_INIT),
    Row("C_Encrypt", "5.8.2", true, SEAL),
    Row("C_EncryptUpdate", "5.8.3", true, SEAL),
    Row("C_EncryptFinal", "5.8.4", true, "ARGUMENTS_BAD BUFFER_TOO_SMALL DATA_LEN_RANGE OPERATION_NOT_INITIALIZED"),
    Row("C_DecryptInit", "5.10.1", true, KEYED_INIT),
    Row("C_Decrypt", "5.10.2", true, OPEN),
    Row("C_DecryptUpdate", "5.10.3", true, OPEN),
    Row("C_DecryptFinal", "5.10.4", true, OPEN),
    Row("C_DigestInit", "5.12.1", true, "ARGUMENTS_BAD MECHANISM_INVALID MECHANISM_PARAM_INVALID OPERATION_ACTIVE"),
    Row("C_Digest", "5.12.2", true, DIGEST),
    Row("C_DigestUpdate", "5.12.3", true, "ARGUMENTS_BAD OPERATION_NOT_INITIALIZED"),
    Row("C_DigestKey", "5.12.4", true, "KEY_HANDLE_INVALID KEY_INDIGESTIBLE KEY_SIZE_RANGE OPERATION_NOT_INITIALIZED"),
    Row("C_DigestFinal", "5.12.5", true, DIGEST),
    Row("C_SignInit", "5.13.1", true, KEYED_INIT),
    Row("C_Sign", "5.13.2", true, SEAL),
    Row("C_SignUpdate", "5.13.3", true, "ARGUMENTS_BAD DATA_LEN_RANGE OPERATION_NOT_INITIALIZED USER_NOT_LOGGED_IN"),
    Row(
        "C_SignFinal",
        "5.13.4",
        true,
        "ARGUMENTS_BAD BUFFER_TOO_SMALL DATA_LEN_RANGE OPERATION_NOT_INITIALIZED USER_NOT_LOGGED_IN",
    ),
    Row("C_SignRecoverInit", "5.13.5", true, KEYED_INIT),
    Row("C_SignRecover", "5.13.6", true, SEAL),
    Row("C_VerifyInit", "5.15.1", true, KEYED_INIT),
    Row("C_Verify", "5.15.2", true, VERIFY),
    Row("C_VerifyUpdate", "5.15.3", true, "ARGUMENTS_BAD DATA_LEN_RANGE OPERATION_NOT_INITIALIZED"),
    Row(
        "C_VerifyFinal",
        "5.15.4",
        true,
        "ARGUMENTS_BAD DATA_LEN_RANGE OPERATION_NOT_INITIALIZED SIGNATURE_INVALID SIGNATURE_LEN_RANGE",
    ),
    Row("C_VerifyRecoverInit", "5.15.5", true, KEYED_INIT),
    Row(
        "C_VerifyRecover",
        "5.15.6",
        true,
        "ARGUMENTS_BAD BUFFER_TOO_SMALL OPERATION_NOT_INITIALIZED SIGNATURE_INVALID SIGNATURE_LEN_RANGE",
    ),
    Row("C_DigestEncryptUpdate", "5.17.1", true, DUAL),
    Row("C_DecryptDigestUpdate", "5.17.2", true, DUAL),
    Row("C_SignEncryptUpdate", "5.17.3", true, DUAL),
    Row("C_DecryptVerifyUpdate", "5.17.4", true, DUAL),
    Row(
        "C_GenerateKey",
        "5.18.1",
        true,
        "ARGUMENTS_BAD ATTRIBUTE_READ_ONLY ATTRIBUTE_TYPE_INVALID ATTRIBUTE_VALUE_INVALID KEY_SIZE_RANGE \
         MECHANISM_INVALID MECHANISM_PARAM_INVALID SESSION_READ_ONLY TEMPLATE_INCOMPLETE TEMPLATE_INCONSISTENT USER_NOT_LOGGED_IN",
    ),
    Row(
        "C_GenerateKeyPair",
        "5.18.2",
        true,
        "ARGUMENTS_BAD ATTRIBUTE_READ_ONLY ATTRIBUTE_TYPE_INVALID ATTRIBUTE_VALUE_INVALID \
         CURVE_NOT_SUPPORTED DOMAIN_PARAMS_INVALID KEY_SIZE_RANGE MECHANISM_INVALID MECHANISM_PARAM_INVALID SESSION_READ_ONLY \
         TEMPLATE_INCOMPLETE TEMPLATE_INCONSISTENT USER_NOT_LOGGED_IN",
    ),
    Row(
        "C_WrapKey",
        "5.18.3",
        true,
        "ARGUMENTS_BAD BUFFER_TOO_SMALL KEY_HANDLE_INVALID KEY_NOT_WRAPPABLE KEY_SIZE_RANGE KEY_UNEXTRACTABLE \
         KEY_FUNCTION_NOT_PERMITTED MECHANISM_INVALID MECHANISM_PARAM_INVALID USER_NOT_LOGGED_IN WRAPPING_KEY_HANDLE_INVALID \
         WRAPPING_KEY_SIZE_RANGE WRAPPING_KEY_TYPE_INCONSISTENT",
    ),
    Row(
        "C_UnwrapKey",
        "5.18.4",
        true,
        "ARGUMENTS_BAD ATTRIBUTE_READ_ONLY ATTRIBUTE_TYPE_INVALID ATTRIBUTE_VALUE_INVALID \
         KEY_FUNCTION_NOT_PERMITTED MECHANISM_INVALID MECHANISM_PARAM_INVALID SESSION_READ_ONLY TEMPLATE_INCOMPLETE \
         TEMPLATE_INCONSISTENT UNWRAPPING_KEY_HANDLE_INVALID UNWRAPPING_KEY_SIZE_RANGE UNWRAPPING_KEY_TYPE_INCONSISTENT \
         USER_NOT_LOGGED_IN WRAPPED_KEY_INVALID WRAPPED_KEY_LEN_RANGE",
    ),
    Row(
        "C_DeriveKey",
        "5.18.5",
        true,
        "ARGUMENTS_BAD ATTRIBUTE_READ_ONLY ATTRIBUTE_TYPE_INVALID ATTRIBUTE_VALUE_INVALID \
         KEY_FUNCTION_NOT_PERMITTED KEY_HANDLE_INVALID KEY_SIZE_RANGE KEY_TYPE_INCONSISTENT MECHANISM_INVALID \
         MECHANISM_PARAM_INVALID SESSION_READ_ONLY TEMPLATE_INCOMPLETE TEMPLATE_INCONSISTENT USER_NOT_LOGGED_IN",
    ),
    Row("C_SeedRandom", "5.19.1", true, "ARGUMENTS_BAD OPERATION_ACTIVE RANDOM_NO_RNG RANDOM_SEED_NOT_SUPPORTED"),
    Row("C_GenerateRandom", "5.19.2", true, "ARGUMENTS_BAD OPERATION_ACTIVE RANDOM_NO_RNG"),
    Row("C_GetFunctionStatus", "5.20.1", true, "FUNCTION_NOT_PARALLEL"),
    Row("C_CancelFunction", "5.20.2", true, "FUNCTION_NOT_PARALLEL"),
    Row("C_MessageEncryptInit", "5.9.1", true, KEYED_INIT),
    Row("C_EncryptMessage", "5.9.2", true, SEAL),
    Row("C_EncryptMessageBegin", "5.9.3", true, BEGIN),
    Row("C_EncryptMessageNext", "5.9.4", true, "ARGUMENTS_BAD BUFFER_TOO_SMALL DATA_LEN_RANGE OPERATION_NOT_INITIALIZED"),
    Row("C_MessageEncryptFinal", "5.9.5", true, END),
    Row("C_MessageDecryptInit", "5.11.1", true, KEYED_INIT),
    Row("C_DecryptMessage", "5.11.2", true, "ARGUMENTS_BAD AEAD_DECRYPT_FAILED BUFFER_TOO_SMALL OPERATION_NOT_INITIALIZED"),
    Row("C_DecryptMessageBegin", "5.11.3", true, BEGIN),
    Row("C_DecryptMessageNext", "5.11.4", true, "ARGUMENTS_BAD AEAD_DECRYPT_FAILED BUFFER_TOO_SMALL OPERATION_NOT_INITIALIZED"),
    Row("C_MessageDecryptFinal", "5.11.5", true, END),
    Row("C_MessageSignInit", "5.14.1", true, KEYED_INIT),
    Row("C_SignMessage", "5.14.2", true, SEAL),
    Row("C_SignMessageBegin", "5.14.3", true, BEGIN),
    Row("C_SignMessageNext", "5.14.4", true, "ARGUMENTS_BAD BUFFER_TOO_SMALL DATA_LEN_RANGE OPERATION_NOT_INITIALIZED"),
    Row("C_MessageSignFinal", "5.14.5", true, END),
    Row("C_MessageVerifyInit", "5.16.1", true, KEYED_INIT),
    Row("C_VerifyMessage", "5.16.2", true, VERIFY),
    Row("C_VerifyMessageBegin", "5.16.3", true, BEGIN),
    Row(
        "C_VerifyMessageNext",
        "5.16.4",
        true,
        "ARGUMENTS_BAD DATA_LEN_RANGE OPERATION_NOT_INITIALIZED SIGNATURE_INVALID SIGNATURE_LEN_RANGE",
    ),
    Row("C_MessageVerifyFinal", "5.16.5", true, END),
    Row(
        "C_EncapsulateKey",
        "5.18.8",
        true,
        "ARGUMENTS_BAD BUFFER_TOO_SMALL KEY_HANDLE_INVALID MECHANISM_INVALID TEMPLATE_INCOMPLETE",
    ),
    Row(
        "C_DecapsulateKey",
        "5.18.9",
        true,
        "ARGUMENTS_BAD KEY_HANDLE_INVALID MECHANISM_INVALID TEMPLATE_INCOMPLETE WRAPPED_KEY_LEN_RANGE",
    ),
    Row("C_VerifySignatureInit", "5.15.7", true, KEYED_INIT),
    Row("C_VerifySignature", "5.15.8", true, VERIFY),
    Row("C_VerifySignatureUpdate", "5.15.9", true, "ARGUMENTS_BAD DATA_LEN_RANGE OPERATION_NOT_INITIALIZED"),
    Row(
        "C_VerifySignatureFinal",
        "5.15.10",
        true,
        "DATA_LEN_RANGE OPERATION_NOT_INITIALIZED SIGNATURE_INVALID SIGNATURE_LEN_RANGE",
    ),
    Row(
        "C_WrapKeyAuthenticated",
        "5.18.6",
        true,
        "ARGUMENTS_BAD BUFFER_TOO_SMALL KEY_HANDLE_INVALID KEY_NOT_WRAPPABLE KEY_UNEXTRACTABLE MECHANISM_INVALID MECHANISM_PARAM_INVALID \
         WRAPPING_KEY_HANDLE_INVALID WRAPPING_KEY_TYPE_INCONSISTENT",
    ),
    Row(
        "C_UnwrapKeyAuthenticated",
        "5.18.7",
        true,
        "ARGUMENTS_BAD MECHANISM_INVALID MECHANISM_PARAM_INVALID TEMPLATE_INCOMPLETE UNWRAPPING_KEY_HANDLE_INVALID \
         UNWRAPPING_KEY_TYPE_INCONSISTENT WRAPPED_KEY_INVALID WRAPPED_KEY_LEN_RANGE",
    ),
    Row("C_AsyncComplete", "5.21", true, "ARGUMENTS_BAD SESSION_ASYNC_NOT_SUPPORTED"),
    Row("C_AsyncGetID", "5.21", true, "ARGUMENTS_BAD SESSION_ASYNC_NOT_SUPPORTED"),
    Row("C_AsyncJoin", "5.21", true, "ARGUMENTS_BAD SESSION_ASYNC_NOT_SUPPORTED"),
    Row("C_GetSessionValidationFlags", "5.6", true, "ARGUMENTS_BAD"),
];

/// Why a case cannot, or need not, get a code out of a function: functions (none for all of them), codes, the reason.
struct Reason(&'static str, &'static str, &'static str);

const NO_HANDLE: &str = "a private object has no handle where nobody is logged in";
const NOT_MADE: &str = "given where a key can be made that the mechanism does not take";
const RELIC: &str = "a relic: CKR_FUNCTION_NOT_PARALLEL, whatever the state";

const REASONS: &[Reason] = &[
    Reason("", "TOKEN_NOT_PRESENT", "needs a slot without a token"),
    Reason("C_Initialize", "CANT_LOCK", "given by modules that cannot lock as they are asked to"),
    Reason("C_GetInterface", "FUNCTION_FAILED", "one of two codes for an interface that there is not"),
    Reason("C_WaitForSlotEvent", "OK", "needs a token that comes or goes"),
    Reason("C_InitToken", "PIN_LOCKED", "an SO's PIN that is locked leaves a token that nobody can use"),
    Reason("C_InitPIN C_SetPIN", "PIN_INVALID", "given by tokens that look at a PIN's characters"),
    Reason("C_InitPIN", "SESSION_READ_ONLY", "the SO has no read-only sessions"),
    Reason("C_OpenSession", "SESSION_COUNT", "needs a token that tells how many sessions it bears"),
    Reason("C_SessionCancel", "OPERATION_CANCEL_FAILED", "given by modules that cannot cancel"),
    Reason("C_GetOperationState", "STATE_UNSAVEABLE", "given by tokens that cannot save the state"),
    Reason("C_SetOperationState", "KEY_CHANGED KEY_NEEDED", "needs a token that saves the state of an encryption"),
    Reason("C_GetObjectSize", "INFORMATION_SENSITIVE", "given by tokens that keep sizes to themselves"),
    Reason("C_SetAttributeValue C_WrapKey", "USER_NOT_LOGGED_IN", NO_HANDLE),
    Reason("C_FindObjectsInit", "ATTRIBUTE_TYPE_INVALID", "a search for what no object has may also find nothing"),
    Reason(
        "C_EncryptInit C_DecryptInit C_SignInit C_SignRecoverInit C_VerifyInit C_VerifyRecoverInit C_MessageEncryptInit \
         C_MessageDecryptInit C_MessageSignInit C_MessageVerifyInit C_VerifySignatureInit",
        "USER_NOT_LOGGED_IN",
        NO_HANDLE,
    ),
    Reason(
        "C_Encrypt C_EncryptUpdate C_DecryptUpdate C_DecryptFinal C_SignUpdate C_SignFinal C_EncryptMessage C_SignMessage \
         C_EncryptMessageBegin C_DecryptMessageBegin C_SignMessageBegin C_VerifyMessageBegin",
        "USER_NOT_LOGGED_IN",
        "an operation with a private key ends with the login",
    ),
    Reason("", "KEY_SIZE_RANGE WRAPPING_KEY_SIZE_RANGE UNWRAPPING_KEY_SIZE_RANGE", NOT_MADE),
    Reason("C_EncryptUpdate C_SignRecover C_Verify", "DATA_INVALID", "given by mechanisms that look into the data"),
    Reason(
        "C_SignUpdate C_SignFinal C_Verify C_VerifyUpdate C_VerifyFinal",
        "DATA_LEN_RANGE",
        "given by mechanisms that bound the data",
    ),
    Reason("C_DecryptUpdate", "ENCRYPTED_DATA_INVALID ENCRYPTED_DATA_LEN_RANGE", "may be told at the operation's end"),
    Reason("", "MECHANISM_PARAM_INVALID", "given by modules that refuse a parameter where the mechanism takes none"),
    Reason("C_DeriveKey", "TEMPLATE_INCOMPLETE", "one of the codes for a length that is missing"),
    Reason(
        "C_SeedRandom C_GenerateRandom",
        "OPERATION_ACTIVE",
        "given by tokens whose generator and operations exclude each other",
    ),
    Reason("C_SeedRandom C_GenerateRandom", "RANDOM_NO_RNG", "needs a token without a generator"),
    Reason("C_SeedRandom", "RANDOM_SEED_NOT_SUPPORTED", "given by tokens whose generator takes no seed"),
    Reason("C_GetFunctionStatus C_CancelFunction", "OK CRYPTOKI_NOT_INITIALIZED SESSION_HANDLE_INVALID", RELIC),
];

/// How many pairs of function and code the standard lists, and what became of them; those that are in none of the last three are holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// In the table.
    pub listed: usize,
    /// Of these, seen.
    pub seen: usize,
    /// Not seen, of functions that the module does not support.
    pub unsupported: usize,
    /// Not seen, for a reason that the table tells.
    pub explained: usize,
}

impl Count {
    /// What no case provokes, and should.
    pub fn holes(&self) -> usize {
        self.listed - self.seen - self.unsupported - self.explained
    }
}

impl Row {
    /// The names without `CKR_`, `OK` first.
    fn codes(&self) -> impl Iterator<Item = &'static str> {
        let shared = if self.2 { NEEDS_SESSION } else { "" };
        ["OK"].into_iter().chain(self.3.split_whitespace()).chain(shared.split_whitespace())
    }

    /// Why this code is not seen, where there is a reason.
    fn reason(&self, code: &str) -> Option<&'static str> {
        let fits = |list: &str, name: &str| list.split_whitespace().any(|known| known == name);
        REASONS
            .iter()
            .find(|reason| fits(reason.1, code) && (reason.0.is_empty() || fits(reason.0, self.0)))
            .map(|reason| reason.2)
    }
}

/// Each function that the table lists, and its section.
pub fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROWS.iter().map(|row| (row.0, row.1))
}

fn short(code: CK_RV) -> String {
    names::rv(code).and_then(|name| name.strip_prefix("CKR_")).map_or_else(|| format!("{code:#x}"), str::to_owned)
}

/// The table: what each function's list names and was seen, what was not and why, the holes, and what came that no list names.
pub fn table(provoked: &Provoked) -> (String, Count) {
    let (mut text, mut all) = (String::new(), Count::default());
    let none = BTreeSet::new();
    for row in ROWS {
        let seen: BTreeSet<String> = provoked.get(row.0).unwrap_or(&none).iter().map(|code| short(*code)).collect();
        let listed: BTreeSet<&str> = row.codes().collect();
        let (came, others): (Vec<&str>, Vec<&str>) = seen.iter().map(String::as_str).partition(|code| listed.contains(code));
        all.listed += listed.len();
        all.seen += came.len();
        let _ = writeln!(text, "{:<28} {:<8} {:>2}/{:<2} {}", row.0, row.1, came.len(), listed.len(), came.join(" "));
        let absent: Vec<&str> = listed.into_iter().filter(|code| !seen.contains(*code)).collect();
        let unsupported = seen.contains("FUNCTION_NOT_SUPPORTED") && !seen.contains("OK");
        for (label, codes) in lines(row, &absent, unsupported, &mut all) {
            let _ = writeln!(text, "{:>43} {label}: {}", "", codes.join(" "));
        }
        if !others.is_empty() {
            let _ = writeln!(text, "{:>43} beside the list: {}", "", others.join(" "));
        }
    }
    let _ = writeln!(
        text,
        "{} of {} listed pairs of function and return value were provoked; of the others, {} belong to functions that the module does \
         not support, {} have a reason, and {} are holes",
        all.seen,
        all.listed,
        all.unsupported,
        all.explained,
        all.holes()
    );
    (text, all)
}

/// What is told of the codes that were not seen: a label, and the codes that it is true of.
fn lines<'a>(row: &Row, absent: &[&'a str], unsupported: bool, count: &mut Count) -> Vec<(&'static str, Vec<&'a str>)> {
    if unsupported && !absent.is_empty() {
        count.unsupported += absent.len();
        return vec![("the module does not support the function", absent.to_vec())];
    }
    let mut lines: Vec<(&'static str, Vec<&'a str>)> = Vec::new();
    for code in absent {
        let label = row.reason(code).unwrap_or("hole");
        count.explained += usize::from(label != "hole");
        match lines.iter_mut().find(|(known, _)| *known == label) {
            Some((_, codes)) => codes.push(code),
            None => lines.push((label, vec![code])),
        }
    }
    lines
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
    fn every_reason_is_for_something_that_is_listed() {
        let lists =
            |function: &str, code: &str| ROWS.iter().any(|row| row.0 == function && row.codes().any(|known| known == code));
        for reason in REASONS {
            for code in reason.1.split_whitespace() {
                assert!(ROWS.iter().any(|row| row.codes().any(|known| known == code)), "no function lists {code}");
                for function in reason.0.split_whitespace() {
                    assert!(lists(function, code), "{function} does not list {code}");
                }
            }
        }
    }

    /// The lines on one function, trimmed, and the count, after these codes of it.
    fn told(function: &str, codes: &[CK_RV]) -> (Vec<String>, Count) {
        let (text, count) = table(&Provoked::from([(function.to_owned(), codes.iter().copied().collect())]));
        let mut lines = text.lines().skip_while(|line| !line.starts_with(&format!("{function} ")));
        let first = lines.next().expect("the function is listed");
        let own = lines.take_while(|line| line.starts_with(' '));
        (std::iter::once(first).chain(own).map(|line| line.trim().to_owned()).collect(), count)
    }

    #[test]
    fn the_table_counts_what_was_seen_and_shows_the_rest() {
        let (lines, count) = told("C_GetInfo", &[0, 7, 6]);
        assert_eq!(count.seen, 2);
        let expected = [
            "C_GetInfo                    5.4.3     2/3  ARGUMENTS_BAD OK",
            "hole: CRYPTOKI_NOT_INITIALIZED",
            "beside the list: FUNCTION_FAILED",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_code_with_a_reason_is_no_hole() {
        let (lines, count) = told("C_WaitForSlotEvent", &[7, 8, 0x190]);
        assert_eq!(lines[1..], ["needs a token that comes or goes: OK"]);
        let (_, nothing) = table(&Provoked::new());
        assert_eq!(count.holes() + 3, nothing.holes());
    }

    #[test]
    fn a_function_that_is_not_supported_leaves_no_holes() {
        let (lines, count) = told("C_GetSessionValidationFlags", &[0x54]);
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("the module does not support the function: ARGUMENTS_BAD"), "{lines:?}");
        assert_eq!(count.unsupported, 4);
    }
}
