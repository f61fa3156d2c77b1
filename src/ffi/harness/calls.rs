//! A target: sequences of calls through the C functions, on a library with one token and a few keys.

use cryptoki_sys::{
    CK_MECHANISM, CK_RV, CKF_RW_SESSION, CKF_SERIAL_SESSION, CKR_BUFFER_TOO_SMALL, CKR_GENERAL_ERROR, CKR_OK, CKU_USER,
};

use super::dice::{Arena, Dice};
use super::{PIN, initialised, last_mistake, mechanism, secret_key, template};
use crate::ck::{KeyType, flags};
use crate::ffi::tables::GATE;
use crate::ffi::{cipher, digest, general, key, object, random, session, sign, slot};
use crate::limits::TOKEN_LABEL_BYTES;
use crate::mechanism::table::Row;

/// Most calls in one sequence.
const CALLS_MAX: usize = 64;

type Begin = unsafe extern "C" fn(u64, *mut CK_MECHANISM, u64) -> CK_RV;
type Transform = unsafe extern "C" fn(u64, *mut u8, u64, *mut u8, *mut u64) -> CK_RV;
type Feed = unsafe extern "C" fn(u64, *mut u8, u64) -> CK_RV;
type Drain = unsafe extern "C" fn(u64, *mut u8, *mut u64) -> CK_RV;

/// One kind of operation: how it starts, and what may follow.
struct Family {
    /// What a mechanism says that can be used so.
    flag: u64,
    begin: Begin,
    transforms: &'static [Transform],
    feeds: &'static [Feed],
    drains: &'static [Drain],
}

const FAMILIES: &[Family] = &[
    Family {
        flag: flags::ENCRYPT,
        begin: cipher::C_EncryptInit,
        transforms: &[cipher::C_Encrypt, cipher::C_EncryptUpdate, cipher::C_DigestEncryptUpdate, cipher::C_SignEncryptUpdate],
        feeds: &[],
        drains: &[cipher::C_EncryptFinal],
    },
    Family {
        flag: flags::DECRYPT,
        begin: cipher::C_DecryptInit,
        transforms: &[cipher::C_Decrypt, cipher::C_DecryptUpdate, cipher::C_DecryptDigestUpdate, cipher::C_DecryptVerifyUpdate],
        feeds: &[],
        drains: &[cipher::C_DecryptFinal],
    },
    Family {
        flag: flags::SIGN,
        begin: sign::C_SignInit,
        transforms: &[sign::C_Sign],
        feeds: &[sign::C_SignUpdate],
        drains: &[sign::C_SignFinal],
    },
    Family {
        flag: flags::VERIFY,
        begin: sign::C_VerifyInit,
        transforms: &[],
        feeds: &[sign::C_VerifyUpdate, sign::C_VerifyFinal],
        drains: &[],
    },
    Family {
        flag: flags::SIGN_RECOVER,
        begin: sign::C_SignRecoverInit,
        transforms: &[sign::C_SignRecover],
        feeds: &[],
        drains: &[],
    },
    Family {
        flag: flags::VERIFY_RECOVER,
        begin: sign::C_VerifyRecoverInit,
        transforms: &[sign::C_VerifyRecover],
        feeds: &[],
        drains: &[],
    },
    Family {
        flag: flags::DIGEST,
        begin: begin_digest,
        transforms: &[digest::C_Digest],
        feeds: &[digest::C_DigestUpdate],
        drains: &[digest::C_DigestFinal, session::C_GetOperationState],
    },
];

/// A digest has no key.
unsafe extern "C" fn begin_digest(session: u64, mechanism: *mut CK_MECHANISM, _key: u64) -> CK_RV {
    // SAFETY: the caller's promise.
    unsafe { digest::C_DigestInit(session, mechanism) }
}

/// Functions that take bytes and belong to no operation.
const FEEDS: &[Feed] = &[random::C_SeedRandom, random::C_GenerateRandom, session::C_InitPIN];

/// Runs the calls that the bytes stand for; gives how many succeeded.
///
/// Panics when one of them answers `CKR_GENERAL_ERROR` or breaks the length protocol.
pub fn calls(bytes: &[u8]) -> usize {
    let done = initialised(|| {
        let (mut caller, mut successes) = (Caller::new(bytes), 0);
        for _ in 0..CALLS_MAX {
            if caller.dice.is_used_up() {
                break;
            }
            let rv = caller.step();
            assert!(rv != CKR_GENERAL_ERROR, "a call answered CKR_GENERAL_ERROR: {}", last_mistake());
            successes += usize::from(rv == CKR_OK);
        }
        successes
    });
    done.expect("a library with a fake token can always be made")
}

/// An application that does anything at all, within its promise.
struct Caller<'a> {
    dice: Dice<'a>,
    arena: Arena,
    sessions: Vec<u64>,
    /// Keys of the beginning first, with their types.
    objects: Vec<(u64, Option<KeyType>)>,
    /// The operation that was started last.
    family: &'static Family,
}

impl<'a> Caller<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let (dice, arena) = (Dice::new(bytes), Arena::default());
        let mut caller = Self { dice, arena, sessions: Vec::new(), objects: Vec::new(), family: &FAMILIES[0] };
        caller.open_session();
        let session = caller.a_session();
        let keys = [(KeyType::AES, 16), (KeyType::AES, 32), (KeyType::GENERIC_SECRET, 20), (KeyType::DES3, 24)];
        for (key_type, len) in keys {
            let made = GATE.with(|module| module.library.create_object(session, secret_key(key_type, vec![0x5b; len])));
            caller.objects.extend(made.and_then(Result::ok).map(|handle| (handle, Some(key_type))));
        }
        caller
    }

    fn step(&mut self) -> CK_RV {
        match self.dice.byte() {
            0..=49 => self.begin(),
            50..=119 => self.transform(),
            120..=139 => self.feed(),
            140..=159 => self.drain(),
            160..=174 => self.object(),
            175..=194 => self.read(),
            195..=219 => self.key(),
            220..=234 => self.find(),
            235..=244 => self.session(),
            _ => self.slot(),
        }
    }

    /// Mostly one that was opened.
    fn a_session(&mut self) -> u64 {
        if self.sessions.is_empty() || self.dice.byte() > 248 { 0 } else { self.dice.pick(&self.sessions) }
    }

    /// Mostly one that was made.
    fn an_object(&mut self) -> (u64, Option<KeyType>) {
        if self.objects.is_empty() || self.dice.byte() > 248 { (0, None) } else { self.dice.pick(&self.objects) }
    }

    /// Mostly one that can be used so, with such a key.
    fn mechanism(&mut self, flag: u64, key_type: Option<KeyType>) -> *mut CK_MECHANISM {
        let any = self.dice.byte() > 248;
        let works_with = |row: &Row| key_type.is_none_or(|key_type| row.keys.is_empty() || row.keys.contains(&key_type));
        let fits = |row: &Row| any || (row.flags() & flag != 0 && works_with(row));
        let mechanism = mechanism::mechanism(&mut self.dice, &mut self.arena, fits);
        let start = self.arena.put(vec![0; size_of::<CK_MECHANISM>()]).cast::<CK_MECHANISM>();
        // SAFETY: just made, long enough.
        unsafe { start.write_unaligned(mechanism) };
        start
    }

    /// Functions of the operation that was started last, sometimes of another.
    fn a_family(&mut self) -> &'static Family {
        if self.dice.byte() < 224 { self.family } else { &FAMILIES[self.dice.below(FAMILIES.len())] }
    }

    fn template(&mut self) -> (*mut cryptoki_sys::CK_ATTRIBUTE, u64) {
        let entries = template::entries(&mut self.dice, &mut self.arena, 2);
        template::array(&entries, &mut self.arena)
    }

    /// Calls with a place for output, and holds the answer against the length protocol. `input` may be the place itself.
    fn asked(&mut self, input: Option<(*mut u8, u64)>, call: impl FnOnce(*mut u8, *mut u64) -> CK_RV) -> CK_RV {
        let (start, room) = match (self.dice.byte(), input) {
            (0..=31, _) => (std::ptr::null_mut(), self.dice.length()),
            (32..=63, Some(input)) => input,
            _ => self.arena.pointer(&mut self.dice, 600),
        };
        let mut len = room;
        let place = if self.dice.byte() == 0 { std::ptr::null_mut() } else { &raw mut len };
        let rv = call(start, place);
        match rv {
            CKR_OK => assert!(start.is_null() || len <= room, "{len} bytes in a buffer of {room}"),
            CKR_BUFFER_TOO_SMALL => assert!(len > room, "a buffer of {room} bytes is too small for {len}"),
            _ => assert!(len == room, "a failed call changed the length"),
        }
        rv
    }

    fn begin(&mut self) -> CK_RV {
        let (session, (key, key_type)) = (self.a_session(), self.an_object());
        self.family = &FAMILIES[self.dice.below(FAMILIES.len())];
        let mechanism = if self.dice.byte() > 248 { std::ptr::null_mut() } else { self.mechanism(self.family.flag, key_type) };
        // SAFETY: every pointer is NULL or of the arena, with the length that it has there or one that is refused.
        unsafe { (self.family.begin)(session, mechanism, key) }
    }

    fn transform(&mut self) -> CK_RV {
        let (session, family) = (self.a_session(), self.a_family());
        if family.transforms.is_empty() {
            return self.feed();
        }
        let transform = self.dice.pick(family.transforms);
        let (data, len) = self.arena.pointer(&mut self.dice, 300);
        // SAFETY: as in `begin`; input and output may be one.
        self.asked(Some((data, len)), |out, out_len| unsafe { transform(session, data, len, out, out_len) })
    }

    fn feed(&mut self) -> CK_RV {
        let (session, family, (key, _)) = (self.a_session(), self.a_family(), self.an_object());
        let (data, len) = self.arena.pointer(&mut self.dice, 300);
        let (other, other_len) = self.arena.pointer(&mut self.dice, 64);
        let feeds = if family.feeds.is_empty() { FEEDS } else { family.feeds };
        // SAFETY: as in `begin`.
        unsafe {
            match self.dice.byte() {
                0..=31 => sign::C_Verify(session, data, len, other, other_len),
                32..=47 => session::C_SetOperationState(session, data, len, key, key),
                48..=63 => digest::C_DigestKey(session, key),
                64..=79 => session::C_SetPIN(session, data, len, other, other_len),
                80..=95 => self.dice.pick(FEEDS)(session, data, len),
                _ => self.dice.pick(feeds)(session, data, len),
            }
        }
    }

    fn drain(&mut self) -> CK_RV {
        let (session, family) = (self.a_session(), self.a_family());
        if family.drains.is_empty() {
            return self.feed();
        }
        let drain = self.dice.pick(family.drains);
        // SAFETY: as in `begin`.
        self.asked(None, |out, out_len| unsafe { drain(session, out, out_len) })
    }

    fn object(&mut self) -> CK_RV {
        let (session, object, (attributes, count)) = (self.a_session(), self.an_object().0, self.template());
        let mut made = 0;
        // SAFETY: as in `begin`.
        let rv = unsafe {
            match self.dice.below(4) {
                0 => object::C_CreateObject(session, attributes, count, &raw mut made),
                1 => object::C_CopyObject(session, object, attributes, count, &raw mut made),
                2 => object::C_SetAttributeValue(session, object, attributes, count),
                _ => object::C_DestroyObject(session, object),
            }
        };
        self.objects.extend((made != 0).then_some((made, None)));
        rv
    }

    /// Attributes: the template's values are the places for what is read.
    fn read(&mut self) -> CK_RV {
        let (session, object) = (self.a_session(), self.an_object().0);
        let entries = template::entries(&mut self.dice, &mut self.arena, 0);
        let (attributes, count) = template::array(&entries, &mut self.arena);
        let mut size = 0;
        // SAFETY: as in `begin`; where a template is asked for, its place holds empty entries.
        unsafe {
            match self.dice.byte() {
                0..=31 => object::C_GetObjectSize(session, object, &raw mut size),
                _ => object::C_GetAttributeValue(session, object, attributes, count),
            }
        }
    }

    fn key(&mut self) -> CK_RV {
        let (session, (key, key_type)) = (self.a_session(), self.an_object());
        let which = self.dice.below(5);
        let key_type = key_type.filter(|_| which >= 2);
        let flag = [flags::GENERATE, flags::GENERATE_KEY_PAIR, flags::UNWRAP, flags::DERIVE, flags::WRAP][which];
        let (mechanism, other) = (self.mechanism(flag, key_type), self.an_object().0);
        let (attributes, count) = self.template();
        let (data, len) = self.arena.pointer(&mut self.dice, 100);
        let (mut first, mut second) = (0, 0);
        let made = (&raw mut first, &raw mut second);
        // SAFETY: as in `begin`.
        let rv = unsafe {
            match which {
                0 => key::C_GenerateKey(session, mechanism, attributes, count, made.0),
                1 => key::C_GenerateKeyPair(session, mechanism, attributes, count, attributes, count, made.0, made.1),
                2 => key::C_UnwrapKey(session, mechanism, key, data, len, attributes, count, made.0),
                3 => key::C_DeriveKey(session, mechanism, key, attributes, count, made.0),
                _ => self.asked(None, |out, out_len| key::C_WrapKey(session, mechanism, key, other, out, out_len)),
            }
        };
        self.objects.extend([first, second].into_iter().filter(|handle| *handle != 0).map(|handle| (handle, None)));
        rv
    }

    fn find(&mut self) -> CK_RV {
        let (session, (attributes, count)) = (self.a_session(), self.template());
        let mut found = [0; 8];
        let mut many = 0;
        // SAFETY: as in `begin`.
        unsafe {
            match self.dice.below(4) {
                0 => object::C_FindObjectsInit(session, attributes, count),
                1 => object::C_FindObjects(session, found.as_mut_ptr(), found.len() as u64, &raw mut many),
                2 => object::C_FindObjects(session, std::ptr::null_mut(), self.dice.length(), &raw mut many),
                _ => object::C_FindObjectsFinal(session),
            }
        }
    }

    fn open_session(&mut self) -> CK_RV {
        let slot = GATE.with(|module| module.library.slot_list(true, false)).and_then(Result::ok);
        let slot = slot.and_then(|slots| slots.first().copied()).unwrap_or_default();
        let mut session = 0;
        // SAFETY: as in `begin`.
        let rv = unsafe {
            session::C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, std::ptr::null_mut(), None, &raw mut session)
        };
        self.sessions.extend((session != 0).then_some(session));
        rv
    }

    fn session(&mut self) -> CK_RV {
        let (session, flags) = (self.a_session(), self.dice.number());
        let mut info = cryptoki_sys::CK_SESSION_INFO::default();
        let pin = self.arena.put(PIN.to_vec());
        let (name, name_len) = self.arena.pointer(&mut self.dice, 16);
        // SAFETY: as in `begin`.
        unsafe {
            match self.dice.below(7) {
                0 => session::C_CloseSession(session),
                1 => session::C_GetSessionInfo(session, &raw mut info),
                2 => session::C_Login(session, CKU_USER, pin, PIN.len() as u64),
                3 => session::C_Logout(session),
                4 => session::C_SessionCancel(session, flags),
                5 => session::C_LoginUser(session, CKU_USER, pin, PIN.len() as u64, name, name_len),
                _ => self.open_session(),
            }
        }
    }

    fn slot(&mut self) -> CK_RV {
        let (slot, kind) = (self.dice.below(3) as u64, self.dice.number());
        let mut room = [0; 4];
        let mut count = self.dice.below(room.len() + 1) as u64;
        let mut info = cryptoki_sys::CK_MECHANISM_INFO::default();
        let (pin, pin_len) = self.arena.pointer(&mut self.dice, 16);
        let label = self.arena.put(vec![b'L'; TOKEN_LABEL_BYTES]);
        // SAFETY: as in `begin`.
        unsafe {
            match self.dice.below(6) {
                0 => slot::C_GetSlotList(1, room.as_mut_ptr(), &raw mut count),
                1 => slot::C_GetMechanismList(slot, room.as_mut_ptr(), &raw mut count),
                2 => slot::C_GetMechanismInfo(slot, kind, &raw mut info),
                3 => session::C_CloseAllSessions(slot),
                4 => slot::C_InitToken(slot, pin, pin_len, label),
                _ => general::C_GetInfo(std::ptr::null_mut()),
            }
        }
    }
}
