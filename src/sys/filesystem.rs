//! What the C library knows about file systems and the standard library does not tell.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::vfs::memory::Disk;

/// File systems without what SQLite's log needs, memory shared by all who map a file and locks that all of them see:
/// `f_type` of `statfs`, and the name. FUSE is not among them: what stands behind it cannot be known.
const NETWORK: &[(i64, &str)] = &[
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB 2"),
    (0x00c3_6400, "Ceph"),
    (0x4750_4653, "GPFS"),
    (0x0bd0_0bd0, "Lustre"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x564c, "NCP"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0xaad7_aaea, "PanFS"),
    // Between a virtual machine and its host (also the drives of Windows under WSL): each side has its own locks and pages.
    (0x0102_1997, "9p"),
    (0x786f_4256, "VirtualBox shared folder"),
    (0xbacb_acbc, "VMware shared folder"),
];

/// The name of the network file system that holds `path`; `None` for a local one.
pub fn network_name(path: &Path) -> io::Result<Option<&'static str>> {
    if Disk::of(path).is_some() {
        return Ok(None);
    }
    let path = c_path(path)?;
    // SAFETY: all-zero bytes are a valid `statfs`.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a null byte and `found` is ours; both live through the call.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // The kernel's numbers have 32 bits; on some targets the field sign-extends them.
    Ok(name_of(i64::from(found.f_type as u32)))
}

fn name_of(magic: i64) -> Option<&'static str> {
    NETWORK.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}

/// Renames a file unless the new name is taken: then the error is `AlreadyExists`.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(disk) = Disk::of(to) {
        return disk.rename_new(from, to);
    }
    let (old, new) = (c_path(from)?, c_path(to)?);
    // SAFETY: both paths end with a null byte and live through the call.
    let renamed = unsafe { libc::renameat2(libc::AT_FDCWD, old.as_ptr(), libc::AT_FDCWD, new.as_ptr(), libc::RENAME_NOREPLACE) };
    if renamed == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // File systems that cannot rename so can link.
    if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) {
        std::fs::hard_link(from, to)?;
        return std::fs::remove_file(from);
    }
    Err(error)
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::{name_of, network_name};

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        assert_eq!(name_of(0x6969), Some("NFS"));
        assert_eq!(name_of(0xff53_4d42), Some("CIFS"));
        for (local, name) in [(0xef53, "ext4"), (0x5846_5342, "xfs"), (0x9123_683e, "btrfs"), (0x0102_1994, "tmpfs")] {
            assert_eq!(name_of(local), None, "{name}");
        }
        assert_eq!(name_of(0x6573_5546), None, "FUSE is allowed");
        assert_eq!(network_name(std::env::temp_dir().as_path()).unwrap(), None);
        assert!(network_name(std::path::Path::new("/no/such/place")).is_err());
    }
}
