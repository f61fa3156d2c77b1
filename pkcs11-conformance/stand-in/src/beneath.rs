//! The module beneath, and what is asked of it.

use std::ptr::null_mut;
use std::sync::LazyLock;

use cryptoki_sys::*;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::Done;

/// Its tables.
pub struct Beneath {
    pub old: CK_FUNCTION_LIST,
    pub new: CK_FUNCTION_LIST_3_2,
}

/// Loaded at the first call, and never unloaded.
pub static BENEATH: LazyLock<Beneath> = LazyLock::new(|| {
    let file = std::env::var("STAND_IN_FOR").expect("STAND_IN_FOR names the module beneath");
    // SAFETY: whoever runs the stand-in named the module.
    let library = unsafe { Library::open(Some(&file), RTLD_NOW | RTLD_LOCAL) }.expect("the module beneath loads");
    // SAFETY: the symbol has this type in every version.
    let list: CK_C_GetFunctionList = *unsafe { library.get(b"C_GetFunctionList\0") }.expect("it has C_GetFunctionList");
    // SAFETY: the symbol has this type since 3.0.
    let interface: CK_C_GetInterface = *unsafe { library.get(b"C_GetInterface\0") }.expect("it has C_GetInterface");
    std::mem::forget(library);
    let (mut old, mut new) = (null_mut(), null_mut());
    let (mut name, mut version) = (*b"PKCS 11\0", CK_VERSION { major: 3, minor: 2 });
    // SAFETY: all places are ours.
    let rvs = unsafe { (list.expect("set")(&mut old), interface.expect("set")(name.as_mut_ptr(), &mut version, &mut new, 0)) };
    assert_eq!(rvs, (CKR_OK, CKR_OK), "the module beneath has a table of 2.40 and one of 3.2");
    // SAFETY: the module promises tables of these forms that last.
    unsafe { Beneath { old: *old, new: *(*new).pFunctionList.cast::<CK_FUNCTION_LIST_3_2>() } }
});

/// Calls a function of the module beneath.
macro_rules! ask {
    ($function:ident $(, $argument:expr)* $(,)?) => {{
        let function = crate::beneath::BENEATH.old.$function.expect("a table has every function");
        #[allow(clippy::macro_metavars_in_unsafe, reason = "it is made to hand on what a caller points to")]
        // SAFETY: the arguments are the caller's own, handed on, or places of ours.
        let rv = unsafe { function($($argument),*) };
        if rv == cryptoki_sys::CKR_OK { Ok(()) } else { Err(rv) }
    }};
}
pub(crate) use ask;

/// Whether the session is there at all; the error tells as the module beneath does.
pub fn session(at: CK_SESSION_HANDLE) -> Done<()> {
    let mut info = CK_SESSION_INFO::default();
    ask!(C_GetSessionInfo, at, &mut info)
}

/// Random bytes.
pub fn random(at: CK_SESSION_HANDLE, len: usize) -> Done<Vec<u8>> {
    let mut bytes = vec![0; len];
    ask!(C_GenerateRandom, at, bytes.as_mut_ptr(), len as CK_ULONG)?;
    Ok(bytes)
}

/// Encryption, decryption or a signature in one call.
pub fn transform(
    at: CK_SESSION_HANDLE,
    mechanism: &mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
    data: &[u8],
    deed: char,
) -> Done<Vec<u8>> {
    let (mut data, mut out) = (data.to_vec(), vec![0; data.len() + 1024]);
    let (from, len, to, mut told) = (data.as_mut_ptr(), data.len() as CK_ULONG, out.as_mut_ptr(), out.len() as CK_ULONG);
    match deed {
        'e' => ask!(C_EncryptInit, at, mechanism, key).and_then(|()| ask!(C_Encrypt, at, from, len, to, &mut told))?,
        'd' => ask!(C_DecryptInit, at, mechanism, key).and_then(|()| ask!(C_Decrypt, at, from, len, to, &mut told))?,
        _ => ask!(C_SignInit, at, mechanism, key).and_then(|()| ask!(C_Sign, at, from, len, to, &mut told))?,
    }
    out.truncate(told as usize);
    Ok(out)
}

/// The bytes that a caller points to.
pub fn bytes(place: *const u8, len: CK_ULONG) -> Done<Vec<u8>> {
    match (place.is_null(), len) {
        (_, 0) => Ok(Vec::new()),
        (true, _) => Err(CKR_ARGUMENTS_BAD),
        // A length that nothing can have is not believed.
        _ if len > isize::MAX as CK_ULONG => Err(CKR_ARGUMENTS_BAD),
        // SAFETY: the caller promises so many bytes.
        _ => Ok(unsafe { std::slice::from_raw_parts(place, len as usize) }.to_vec()),
    }
}

/// Gives output by the rules of 5.2: the length alone, too small, or all of it. Whether it was written.
pub fn give(data: &[u8], place: CK_BYTE_PTR, len: CK_ULONG_PTR) -> Done<bool> {
    // SAFETY: the caller promises a place or NULL.
    let told = unsafe { len.as_mut() }.ok_or(CKR_ARGUMENTS_BAD)?;
    let room = std::mem::replace(told, data.len() as CK_ULONG);
    if place.is_null() {
        return Ok(false);
    }
    if (room as usize) < data.len() {
        return Err(CKR_BUFFER_TOO_SMALL);
    }
    // SAFETY: the caller promises `room` bytes, which are enough.
    unsafe { place.copy_from_nonoverlapping(data.as_ptr(), data.len()) };
    Ok(true)
}

/// A number in a buffer of its size.
pub fn number(value: &[u8]) -> Option<CK_ULONG> {
    value.try_into().ok().map(CK_ULONG::from_ne_bytes)
}
