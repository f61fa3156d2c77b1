//! Memory for keys that live long: locked in RAM, left out of core dumps, wiped when dropped.

use std::io;
use std::ptr::{self, NonNull};

use super::process::page_bytes;

/// Bytes in pages of their own. The pages are locked where the process's limit (`RLIMIT_MEMLOCK`) allows; where it does not, the bytes
/// are kept all the same and [`Locked::is_resident`] says so.
pub struct Locked {
    start: NonNull<u8>,
    len: usize,
    resident: bool,
}

// SAFETY: the pages belong to this value alone, like a `Box<[u8]>`.
unsafe impl Send for Locked {}
// SAFETY: shared access only reads.
unsafe impl Sync for Locked {}

impl Locked {
    /// `len` zero bytes. Errors: the kernel has no memory.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        let mapped = mapped_bytes(len);
        // SAFETY: a fresh anonymous mapping; the address is checked before use.
        let start = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(ptr::null_mut(), mapped, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: our own mapping, whole. Both are best effort: a full limit or an old kernel is no reason to refuse a key.
        let resident = unsafe {
            libc::madvise(start, mapped, libc::MADV_DONTDUMP);
            libc::mlock(start, mapped) == 0
        };
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self { start, len, resident })
    }

    /// A copy of bytes that somebody else keeps (and wipes).
    pub fn copy_of(bytes: &[u8]) -> io::Result<Self> {
        let mut locked = Self::zeroed(bytes.len())?;
        locked.expose_mut().copy_from_slice(bytes);
        Ok(locked)
    }

    /// The bytes themselves: for cryptography only.
    pub fn expose(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes of our own mapping, alive as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes themselves, to be written.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `expose`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Whether the pages are locked in RAM.
    pub fn is_resident(&self) -> bool {
        self.resident
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: our own mapping, whole; unmapping unlocks it as well.
        unsafe {
            libc::explicit_bzero(self.start.as_ptr().cast(), self.len);
            libc::munmap(self.start.as_ptr().cast(), mapped_bytes(self.len));
        }
    }
}

/// Bytes mapped for `len` bytes: whole pages, at least one.
fn mapped_bytes(len: usize) -> usize {
    len.max(1).next_multiple_of(page_bytes())
}

#[cfg(test)]
mod tests {
    use super::Locked;

    #[test]
    fn it_keeps_what_is_put_in() {
        let mut locked = Locked::copy_of(b"a key of the token").unwrap();
        assert_eq!(locked.expose(), b"a key of the token");
        locked.expose_mut()[0] = b'A';
        assert_eq!(&locked.expose()[..2], b"A ");
        assert!(Locked::zeroed(0).unwrap().expose().is_empty());
        assert_eq!(Locked::zeroed(10_000).unwrap().expose().len(), 10_000);
    }

    #[test]
    fn its_pages_are_locked_and_stay_out_of_core_dumps() {
        let locked = Locked::copy_of(&[7; 32]).unwrap();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let head = format!("{:x}-", locked.start.as_ptr() as usize);
        let flags = maps.lines().skip_while(|line| !line.starts_with(&head)).find(|line| line.starts_with("VmFlags:")).unwrap();
        assert!(flags.split(' ').any(|flag| flag == "dd"), "{flags}");
        assert_eq!(locked.is_resident(), flags.split(' ').any(|flag| flag == "lo"), "{flags}");
    }
}
