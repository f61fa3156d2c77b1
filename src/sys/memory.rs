//! Memory for keys that live long: locked in RAM, left out of core dumps, wiped when dropped. And memory for a moment, which the system has back after it.

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

/// Whole pages of zeros, left out of core dumps. Whoever has them gives them back by `munmap`.
fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a fresh anonymous mapping; the address is checked before use.
    let start = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: our own mapping, whole. An old kernel is no reason to refuse.
    unsafe { libc::madvise(start, bytes, libc::MADV_DONTDUMP) };
    NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}

impl Locked {
    /// `len` zero bytes. Errors: the kernel has no memory.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        let mapped = mapped_bytes(len);
        let start = map(mapped)?;
        // SAFETY: our own mapping, whole. A full limit is no reason to refuse a key.
        let resident = unsafe { libc::mlock(start.as_ptr().cast(), mapped) == 0 };
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

/// Many values for a moment, in pages of their own, which the system has back when they are dropped and gives to nobody unwiped. An allocator keeps what
/// threads give back, for each of them: in a server whose threads come and go that adds up.
pub struct Scratch<T> {
    start: NonNull<T>,
    count: usize,
}

impl<T: Copy> Scratch<T> {
    /// So many times the same value. Errors: the kernel has no memory.
    pub fn filled(value: T, count: usize) -> io::Result<Self> {
        const { assert!(align_of::<T>() <= 4096, "pages begin where such a value may") };
        let bytes = count.checked_mul(size_of::<T>()).filter(|bytes| *bytes <= isize::MAX as usize);
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let start = map(mapped_bytes(bytes))?.cast::<T>();
        // SAFETY: our own mapping, whole. A child of a fork has no thread that would use or unmap it.
        unsafe { libc::madvise(start.as_ptr().cast(), mapped_bytes(bytes), libc::MADV_DONTFORK) };
        for at in 0..count {
            // SAFETY: within our own mapping, and aligned as the pages are.
            unsafe { start.add(at).write(value) };
        }
        Ok(Self { start, count })
    }
}

impl<T> AsMut<[T]> for Scratch<T> {
    fn as_mut(&mut self) -> &mut [T] {
        // SAFETY: `count` values that `filled` has written, alone ours as long as `self` is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.count) }
    }
}

impl<T> Drop for Scratch<T> {
    fn drop(&mut self) {
        // SAFETY: our own mapping, whole.
        unsafe { libc::munmap(self.start.as_ptr().cast(), mapped_bytes(self.count * size_of::<T>())) };
    }
}

/// Bytes mapped for `len` bytes: whole pages, at least one.
fn mapped_bytes(len: usize) -> usize {
    len.max(1).next_multiple_of(page_bytes())
}

#[cfg(test)]
mod tests {
    use super::{Locked, Scratch, mapped_bytes};

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

    #[test]
    fn memory_for_a_moment_is_given_back() {
        let resident = || {
            let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
            pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * super::page_bytes()
        };
        const COUNT: usize = 64 << 10;
        let mut scratch = Scratch::filled([7_u64; 128], COUNT).unwrap();
        assert_eq!(scratch.as_mut().len(), COUNT);
        assert!(scratch.as_mut().iter().all(|value| *value == [7; 128]));
        scratch.as_mut()[COUNT - 1] = [8; 128];
        assert_eq!(scratch.as_mut()[COUNT - 1], [8; 128]);
        let before = resident();
        drop(scratch);
        // Other tests' threads take memory meanwhile.
        assert!(resident() + COUNT * 512 < before, "64 MiB are gone");
        assert!(Scratch::filled(0_u8, usize::MAX).is_err() && Scratch::filled(0_u64, usize::MAX).is_err());
        assert_eq!(Scratch::filled(0_u8, 0).unwrap().as_mut().len(), 0);
        assert_eq!(mapped_bytes(0), super::page_bytes());
    }
}
