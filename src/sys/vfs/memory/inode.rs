//! One file: what the cache shows, what the disk holds, and what lies between.

use std::sync::Arc;

use super::share::{DatabaseLocks, Shared};
use super::{Dice, Loss};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A change that is in the cache only.
enum Pending {
    Write {
        at: usize,
        bytes: Vec<u8>,
        /// Power failed during it, after so many bytes.
        torn: Option<usize>,
    },
    Cut(usize),
}

/// A file.
#[derive(Default)]
pub struct Inode {
    cache: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// Locks on it as a database.
    pub locks: DatabaseLocks,
    /// The index of its write-ahead log.
    pub shared: Option<Arc<Shared>>,
}

fn put(file: &mut Vec<u8>, bytes: &[u8], at: usize) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Pending {
    /// Brings it to the disk, except for the sectors that are lost.
    fn reach(&self, disk: &mut Vec<u8>, mut keeps: impl FnMut() -> bool) {
        match self {
            Self::Cut(len) => {
                if keeps() {
                    disk.resize(*len, 0);
                }
            }
            Self::Write { at, bytes, torn } => {
                let bytes = &bytes[..torn.unwrap_or(bytes.len())];
                let mut from = 0;
                while from < bytes.len() {
                    let to = (SECTOR_BYTES - (at + from) % SECTOR_BYTES + from).min(bytes.len());
                    if keeps() {
                        put(disk, &bytes[from..to], at + from);
                    }
                    from = to;
                }
            }
        }
    }

    fn whole(&mut self) {
        if let Self::Write { torn, .. } = self {
            *torn = None;
        }
    }
}

impl Inode {
    /// Its length as the cache shows it.
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// What the cache shows.
    pub fn bytes(&self) -> &[u8] {
        &self.cache
    }

    /// Fills `out` as far as the file reaches.
    pub fn read(&self, out: &mut [u8], offset: u64) -> usize {
        let rest = self.cache.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        len
    }

    /// Writes to the cache.
    pub fn write(&mut self, bytes: &[u8], offset: u64) {
        put(&mut self.cache, bytes, offset as usize);
        self.pending.push(Pending::Write { at: offset as usize, bytes: bytes.to_vec(), torn: None });
    }

    /// Is writing when power fails.
    pub fn write_torn(&mut self, bytes: &[u8], offset: u64, torn: usize) {
        self.pending.push(Pending::Write { at: offset as usize, bytes: bytes.to_vec(), torn: Some(torn) });
    }

    /// Changes the length.
    pub fn cut(&mut self, len: u64) {
        self.cache.resize(len as usize, 0);
        self.pending.push(Pending::Cut(len as usize));
    }

    /// All reaches the disk.
    pub fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.reach(&mut self.durable, || true);
        }
    }

    /// Some reaches the disk, and the cache takes the rest for written.
    pub fn fail_sync(&mut self, dice: &mut Dice) {
        for change in self.pending.drain(..) {
            change.reach(&mut self.durable, || dice.roll(2) == 0);
        }
    }

    /// Power fails.
    pub fn crash(&mut self, loss: Loss, dice: &mut Dice) {
        let mut pending = std::mem::take(&mut self.pending);
        match loss {
            Loss::Everything => pending.clear(),
            Loss::Nothing => pending.iter_mut().for_each(Pending::whole),
            Loss::Newest => drop(pending.pop()),
            Loss::AllButNewest => drop(pending.drain(..pending.len().saturating_sub(1))),
            Loss::Some(_) => {}
        }
        for change in pending {
            change.reach(&mut self.durable, || !matches!(loss, Loss::Some(_)) || dice.roll(2) == 0);
        }
        self.cache.clone_from(&self.durable);
        self.locks = DatabaseLocks::default();
        self.shared = None;
    }

    /// A file that holds what is durable of this one.
    pub fn durable_copy(&self) -> Self {
        Self { cache: self.durable.clone(), durable: self.durable.clone(), ..Self::default() }
    }

    /// Holds other bytes from now on.
    pub fn damage(&mut self, bytes: Vec<u8>) {
        self.durable.clone_from(&bytes);
        self.cache = bytes;
        self.pending.clear();
    }
}
