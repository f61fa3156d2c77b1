//! What tests of the store and of the rooms above need: a directory of their own, and rows.

#![allow(missing_docs, reason = "fixtures say what they are by their names")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ck::AttributeType;
use crate::error::Result;
use crate::object::{ObjectId, TokenId};
use crate::store::{Change, Committed, ObjectRow, Outcome, Place, Proposal, RequestId, Sealed, Store, Tag, TokenRow, UserRow};

/// A directory that goes when it is dropped.
pub struct Directory(PathBuf);

impl Directory {
    #[allow(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hsmpool-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Another process's directory, which goes when this is dropped.
    pub fn of(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn database(&self) -> PathBuf {
        self.0.join(crate::store::file::FILE_NAME)
    }

    pub fn open(&self) -> Store {
        Store::open(&self.0).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub const TOKEN: TokenId = TokenId([0x70; 16]);

pub fn token_row(id: TokenId, generation: u64) -> TokenRow {
    let serial = [id.0[0]; 16];
    TokenRow { id, serial, label: [b'L'; 32], policy: 1, generation, public_key: vec![9; 44], mac: vec![8; 32] }
}

pub fn user_row(token: TokenId, role: u8, generation: u64) -> UserRow {
    let wrapped = Sealed::from_ciphertext(vec![role; 60]);
    UserRow { token, role, generation, wrapped, attempts: 0, attempts_max: 3 }
}

pub fn init(id: TokenId, generation: u64, expected_generation: Option<u64>) -> Change {
    Change::InitToken { token: token_row(id, generation), so: user_row(id, 0, 1), expected_generation }
}

pub fn id(number: u64) -> ObjectId {
    let mut bits = [0; 16];
    bits[8..].copy_from_slice(&number.to_be_bytes());
    ObjectId(bits)
}

pub fn tag(attribute: AttributeType, value: u64) -> Tag {
    Tag { attribute, hash: id(value.wrapping_mul(0x9e37_79b9_7f4a_7c15)).0 }
}

/// An object with a class that all have, a label of its own, and an id that ten have in common.
pub fn row(number: u64) -> ObjectRow {
    let tags = vec![tag(AttributeType::CLASS, 3), tag(AttributeType::LABEL, number), tag(AttributeType::ID, number / 10)];
    ObjectRow { id: id(number), version: 1, private: false, sealed: Sealed::from_ciphertext(vec![number as u8; 300]), tags }
}

pub fn create(objects: Vec<ObjectRow>) -> Change {
    Change::CreateObjects { token: TOKEN, token_generation: 1, objects }
}

/// Applies without a log's rules: each change is a request of its own.
pub fn apply(store: &Store, change: Change) -> Result<Outcome> {
    store.write(|batch| {
        let index = batch.applied() + 1;
        let request = RequestId { client: [0xaa; 16], sequence: index };
        batch.apply(&Committed::by_log(index, Proposal { request, change }))
    })
}

/// A store with the token and `objects` objects.
pub fn filled(directory: &Directory, objects: u64) -> Store {
    let store = directory.open();
    assert_eq!(apply(&store, init(TOKEN, 1, None)).unwrap(), Outcome::Done);
    let rows: Vec<ObjectRow> = (0..objects).map(row).collect();
    for some in rows.chunks(1000) {
        assert_eq!(apply(&store, create(some.to_vec())).unwrap(), Outcome::Done);
    }
    store
}

/// One holder of a PIN.
pub fn user_of(store: &Store, token: TokenId, role: u8) -> Option<UserRow> {
    let (_, users) = store.token_and_users(token).unwrap()?;
    users.into_iter().find(|user| user.role == role)
}

/// Has a member's store stand at a place in its group's log.
pub fn stand_at(store: &Store, place: Place) -> Result<()> {
    store.write(|batch| {
        batch.set_place(place);
        Ok(())
    })
}

/// Makes an object in a member's store, in a transaction that stays open, and has the store stand at a place.
pub fn create_on(store: &Store, number: u64, place: Place) -> Result<Outcome> {
    let proposal = Proposal { request: RequestId { client: [5; 16], sequence: number }, change: create(vec![row(number)]) };
    store.write_on(|batch| {
        batch.set_place(place);
        batch.apply(&Committed::by_log(batch.applied() + 1, proposal))
    })
}
