//! Files beside SQLite's, wherever they are: on this machine, or on a disk in memory ([`super::vfs::memory`]).

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::vfs::memory::Disk;

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A directory.
    Directory,
    /// A file of so many bytes.
    File(u64),
    /// Something else: a link that was not followed, a device.
    Other,
}

impl Found {
    fn of(found: &fs::Metadata) -> Self {
        match (found.is_dir(), found.is_file()) {
            (true, _) => Self::Directory,
            (_, true) => Self::File(found.len()),
            _ => Self::Other,
        }
    }
}

/// What tells that a file was replaced or written: inode, length, and when it was changed, by seconds and nanoseconds.
pub type Stamp = (u64, u64, i64, i64);

/// The stamp of a file of this machine, if it is there.
pub fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|found| (found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

fn on(disk: &Disk, path: &Path) -> io::Result<Found> {
    disk.look(path).map(|bytes| bytes.map_or(Found::Directory, Found::File))
}

/// What a path leads to, through links. Errors: `NotFound` among others.
pub fn find(path: &Path) -> io::Result<Found> {
    Disk::of(path).map_or_else(|| fs::metadata(path).map(|found| Found::of(&found)), |disk| on(&disk, path))
}

/// What stands at a path; a link is `Other`.
pub fn find_itself(path: &Path) -> io::Result<Found> {
    Disk::of(path).map_or_else(|| fs::symlink_metadata(path).map(|found| Found::of(&found)), |disk| on(&disk, path))
}

/// Whether there is a file that is not empty.
pub fn has_content(path: &Path) -> bool {
    matches!(find(path), Ok(Found::File(1..)))
}

/// Makes a directory, and those above it.
pub fn make_directories(path: &Path, mode: u32) -> io::Result<()> {
    match Disk::of(path) {
        Some(disk) => disk.make_directories(path),
        None => DirBuilder::new().recursive(true).mode(mode).create(path),
    }
}

/// Removes a file.
pub fn remove(path: &Path) -> io::Result<()> {
    Disk::of(path).map_or_else(|| fs::remove_file(path), |disk| disk.remove(path))
}

/// What stands in a directory.
pub fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match Disk::of(directory) {
        Some(disk) => Ok(disk.names().into_iter().filter(|path| path.parent() == Some(directory)).collect()),
        None => fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect(),
    }
}

/// Makes the names in a directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    Disk::of(path).map_or_else(|| File::open(path)?.sync_all(), |disk| disk.sync_names())
}

/// Opens a file for reading.
pub fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    Ok(match Disk::of(path) {
        Some(disk) => Box::new(disk.plain(path, false)?),
        None => Box::new(File::open(path)?),
    })
}

/// Makes a file, which must not exist yet, for writing.
pub fn create_new(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    Ok(match Disk::of(path) {
        Some(disk) => Box::new(disk.plain(path, true)?),
        None => Box::new(File::create_new(path)?),
    })
}
