//! A claim on a directory: of all processes of this machine, one has it at a time.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::files;
use super::process::{Descriptor, NoFork};
use super::vfs::lock::{self, Hold};

/// The name of the file that is locked.
const FILE_NAME: &str = "claim";

/// Held until it is dropped, or its process ends, however that comes about. A forked child does not have it, and releases nothing.
pub struct Claim {
    /// A lock of an open file description goes when its last descriptor is closed.
    _locked: Descriptor,
}

impl Claim {
    /// Claims a directory, which is made (mode 0700) when it is missing. `None`: another process, or another copy of this code in this one, has it.
    pub fn take(directory: &Path) -> io::Result<Option<Self>> {
        if !directory.is_dir() {
            files::make_directories(directory, 0o700)?;
        }
        // A child that is born in between would keep the lock.
        let _alone = NoFork::hold();
        let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(directory.join(FILE_NAME));
        let file = Descriptor::new(OwnedFd::from(options?))?;
        Ok(lock::set(&file, Hold::Exclusive, 0, 1)?.then_some(Self { _locked: file }))
    }
}

#[cfg(test)]
mod tests {
    use super::Claim;
    use crate::sys::process::tests::in_child;

    #[test]
    fn one_has_it_and_a_child_neither_inherits_nor_releases_it() {
        let directory = std::env::temp_dir().join(format!("hsmpool-claim-{}", std::process::id()));
        let take = || Claim::take(&directory).unwrap();
        let claim = take().expect("nobody has it");
        assert!(take().is_none(), "the same process");
        assert!(in_child(|| take().is_none()), "a child of the one who has it");
        let inherited = std::cell::Cell::new(Some(claim));
        assert!(in_child(|| {
            drop(inherited.take());
            take().is_none()
        }));
        assert!(take().is_none(), "what the child dropped was nothing");
        drop(inherited.take());
        assert!(take().is_some(), "it is free again");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
