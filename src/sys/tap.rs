//! Ethernet links whose other end is a file: what the kernel sends out of the link is read from it, what is written to it arrives.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Makes a link of this name in the network namespace of the calling thread. It goes when the file is closed. Errors: not root, or the kernel has
/// no such links (`/dev/net/tun`); `InvalidInput`: the name is too long.
pub fn create(name: &str) -> io::Result<File> {
    let file = File::options().read(true).write(true).open(DEVICE)?;
    // SAFETY: plain numbers, for which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name of a link")));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the kernel reads and writes the one structure, which is ours and lives through the call; the descriptor is open.
    match unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Where the kernel offers them.
pub const DEVICE: &str = "/dev/net/tun";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_link_can_have_is_refused() {
        for name in ["", "0123456789abcdef"] {
            // Where the device is missing, nothing else can be said.
            let refused = create(name).map(drop).unwrap_err().kind();
            assert!(matches!(refused, io::ErrorKind::InvalidInput | io::ErrorKind::NotFound), "{name:?}: {refused}");
        }
    }
}
