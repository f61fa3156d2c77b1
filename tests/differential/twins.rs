//! Two libraries over copies of one token: embedded, and in front of a pool.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hsmpool::error;
use hsmpool::object::policy::Policy;
use hsmpool::partition::LocalAdmin;
use hsmpool::session::{Library, Settings};
use hsmpool::token::{Admin, Role, Scope};
use hsmpool::world::Real;

use crate::house::{House, new_directory, partition, pin};

/// A token that was made once, to be copied: PINs are slow on purpose.
pub struct Origin(PathBuf);

impl Origin {
    pub fn make() -> Self {
        let directory = new_directory();
        let (partition, _) = partition(&directory, Policy::Default, false);
        let token = LocalAdmin(partition).init_token(None, &pin("so-pin"), *b"differential                    ").unwrap();
        let so = token.login(&Scope([1; 16]), Role::SecurityOfficer, &pin("so-pin")).unwrap();
        token.init_pin(&so.with_write(true), &pin("user-pin")).unwrap();
        token.logout(&so).unwrap();
        Self(directory)
    }

    fn copy(&self) -> PathBuf {
        let to = new_directory();
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(&self.0).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
        to
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(directory: &Path) {
    // What cannot be removed is left to the system's own cleaning of temporary files.
    let _ = fs::remove_dir_all(directory);
}

/// Both libraries: the embedded one first.
pub struct Twins {
    libraries: [Library; 2],
    pub house: House,
    embedded: PathBuf,
}

impl Twins {
    pub fn new(origin: &Origin, seed: u64) -> Self {
        let embedded = origin.copy();
        let local: Arc<dyn Admin> = Arc::new(LocalAdmin(partition(&embedded, Policy::Default, false).0));
        let house = House::over(origin.copy(), seed, Policy::Default);
        let pooled: Arc<dyn Admin> = Arc::new(house.other("application"));
        let library = |admin| Library::new(admin, Arc::new(Real), Settings::default()).unwrap();
        Self { libraries: [library(local), library(pooled)], house, embedded }
    }

    /// The same call to both, with the numbers that each knows things by.
    pub fn both<T>(&self, call: impl Fn(&Library, usize) -> error::Result<T>) -> [error::Result<T>; 2] {
        [0, 1].map(|side| call(&self.libraries[side], side))
    }
}

impl Drop for Twins {
    fn drop(&mut self) {
        self.libraries.iter().for_each(Library::close);
        remove(&self.embedded);
    }
}
