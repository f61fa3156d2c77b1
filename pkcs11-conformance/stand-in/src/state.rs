//! What the stand-in remembers: its own key objects, and each session's running messages.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use cryptoki_sys::*;

/// An object of the stand-in's own.
pub type Object = BTreeMap<CK_ATTRIBUTE_TYPE, Vec<u8>>;

/// Messages under one Init.
#[derive(Clone)]
pub struct Process {
    pub mechanism: CK_MECHANISM_TYPE,
    pub key: CK_OBJECT_HANDLE,
    /// Vectors that were made.
    pub made: u64,
    /// The message that goes on in parts: associated data, and data so far.
    pub open: Option<(Vec<u8>, Vec<u8>)>,
    /// The first signature, for a fault.
    pub first: Vec<u8>,
}

/// What a session does.
#[derive(Default)]
pub struct Session {
    /// By the letter of what is done: `e`, `d`, `s`, `v`.
    pub messages: BTreeMap<char, Process>,
    /// Mechanism, key, signature and data of a verification whose signature came first.
    pub verify: Option<(CK_MECHANISM_TYPE, CK_OBJECT_HANDLE, Vec<u8>, Vec<u8>)>,
    /// Vector, key and data of an encryption whose state can be saved.
    pub cipher: Option<(Vec<u8>, CK_OBJECT_HANDLE, Vec<u8>)>,
    /// Handles that a search of the stand-in's own has left to give.
    pub search: Option<Vec<CK_OBJECT_HANDLE>>,
}

/// All of it.
#[derive(Default)]
pub struct State {
    pub objects: BTreeMap<CK_OBJECT_HANDLE, Object>,
    pub sessions: BTreeMap<CK_SESSION_HANDLE, Session>,
    /// Slots of the sessions that are open.
    pub open: BTreeMap<CK_SESSION_HANDLE, CK_SLOT_ID>,
    made: CK_OBJECT_HANDLE,
}

static STATE: Mutex<State> =
    Mutex::new(State { objects: BTreeMap::new(), sessions: BTreeMap::new(), open: BTreeMap::new(), made: 0 });

/// Handles of the stand-in's own begin here.
pub const FIRST: CK_OBJECT_HANDLE = 1 << 48;

/// The state, whatever happened to another thread.
pub fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl State {
    /// A session's.
    pub fn at(&mut self, session: CK_SESSION_HANDLE) -> &mut Session {
        self.sessions.entry(session).or_default()
    }

    /// Keeps an object.
    pub fn keep(&mut self, object: Object) -> CK_OBJECT_HANDLE {
        self.made += 1;
        self.objects.insert(FIRST + self.made, object);
        FIRST + self.made
    }

    /// The handles of the profile objects.
    pub fn profiles(&mut self) -> Vec<CK_OBJECT_HANDLE> {
        let claims = |object: &Object| object.contains_key(&CKA_PROFILE_ID);
        if !self.objects.values().any(claims) {
            let mut claimed =
                vec![CKP_BASELINE_PROVIDER, CKP_EXTENDED_PROVIDER, CKP_AUTHENTICATION_TOKEN, CKP_PUBLIC_CERTIFICATES_TOKEN];
            if crate::fault::on("profile-twice") {
                claimed.push(CKP_BASELINE_PROVIDER);
            }
            if crate::fault::on("profile-false") {
                claimed.extend([CKP_HKDF_TLS_TOKEN, CKP_COMPLETE_PROVIDER]);
            }
            for profile in claimed {
                let flag = |set: bool| vec![u8::from(set)];
                self.keep(Object::from([
                    (CKA_CLASS, CKO_PROFILE.to_ne_bytes().to_vec()),
                    (CKA_PROFILE_ID, profile.to_ne_bytes().to_vec()),
                    (CKA_TOKEN, flag(!crate::fault::on("profile-of-session"))),
                    (CKA_PRIVATE, flag(false)),
                ]));
            }
        }
        self.objects.iter().filter(|(_, object)| claims(object)).map(|(handle, _)| *handle).collect()
    }
}
