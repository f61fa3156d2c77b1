//! The room's promises, on a token in memory.

mod login;
mod model;
mod object;
mod operation;
mod permit;
mod saved;
mod slots;
mod stress;

use std::sync::Arc;

use super::fake::{FakeAdmin, FakeToken};
use super::*;
use crate::ck::AttributeType;
use crate::object::{Template, Value};
use crate::secret::Secret;
use crate::world::Real;

const SO: u64 = 0;
const USER: u64 = 1;
const CONTEXT_SPECIFIC: u64 = 2;

const SO_PIN: &[u8] = b"so-pin";
const USER_PIN: &[u8] = b"user-pin";

const READ_ONLY: u64 = info::SERIAL_SESSION;
const READ_WRITE: u64 = info::SERIAL_SESSION | info::RW_SESSION;

/// A library over one initialised token.
struct House {
    library: Arc<Library>,
    admin: Arc<FakeAdmin>,
    token: Arc<FakeToken>,
    slot: u64,
}

impl House {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let admin = Arc::new(FakeAdmin::default());
        let token = FakeToken::new(*b"0000000000000100", SO_PIN);
        token.set_user_pin(USER_PIN);
        admin.add(token.clone());
        let library = Arc::new(Library::new(admin.clone(), Arc::new(Real), settings).unwrap());
        Self { library, admin, token, slot: 0x100 }
    }

    fn open(&self, flags: u64) -> u64 {
        self.library.open_session(self.slot, flags).unwrap()
    }

    /// A read-write session with the user logged in.
    fn user(&self) -> u64 {
        let session = self.open(READ_WRITE);
        self.login(session);
        session
    }

    fn login(&self, session: u64) {
        self.library.login(session, USER, &pin(USER_PIN)).unwrap();
    }

    /// A session object with a value, and with the flags that are named.
    fn object(&self, session: u64, flags: &[AttributeType]) -> u64 {
        self.library.create_object(session, template(flags)).unwrap()
    }
}

fn pin(bytes: &[u8]) -> Secret {
    Secret::copy_of(bytes)
}

fn template(flags: &[AttributeType]) -> Template {
    let flags = flags.iter().map(|flag| (*flag, Value::Bool(true)));
    flags.chain([(AttributeType::VALUE, Value::Bytes(b"value".to_vec()))]).collect()
}

fn plain(kind: MechanismType) -> Mechanism {
    Mechanism { kind, params: Params::None }
}

fn code<T>(result: Result<T>) -> Option<Code> {
    result.err().map(|error| error.code())
}

fn all_objects(library: &Library, session: u64) -> Vec<u64> {
    library.find_objects_init(session, Template::new()).unwrap();
    let found = library.find_objects(session, usize::MAX).unwrap();
    library.find_objects_final(session).unwrap();
    found
}
