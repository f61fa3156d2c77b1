//! A caller's memory as Rust values: the rules for NULL, lengths, alignment and overlap, in one place.
//!
//! Who calls a C function promises (PKCS#11 3.1, 5.1): a pointer is NULL, or good for as much as the length beside it
//! says until the function returns, and no other thread writes there meanwhile. This promise is the safety condition of every
//! `unsafe fn` in this room; "the caller's promise" in a SAFETY note means it. What can be checked is checked: NULL,
//! lengths beyond all memory, overlap of input and output. Alignment is never assumed: C code reads structures out of files and packets.

use std::ops::Deref;
use std::ptr::NonNull;
use std::slice;

use cryptoki_sys::{CK_BYTE, CK_ULONG};

use crate::error::{Code, Doing, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits::{INPUT_MAX_BYTES, PIN_LEN_MAX_BYTES, RANDOM_MAX_BYTES};
use crate::secret::Secret;
use crate::session::{Filled, Output};

// The numbers of the C interface are 64 bits wide wherever we build; `u64` and `CK_ULONG` are one type.
const _: () = assert!(size_of::<CK_ULONG>() == 8 && size_of::<usize>() == 8);

/// What a caller hands over as input.
#[derive(Clone, Copy)]
pub struct Given(pub *const CK_BYTE, pub CK_ULONG);

/// Where a caller wants a result of variable length: the buffer, NULL for a length query, and its length.
#[derive(Clone, Copy)]
pub struct Asked(pub *mut CK_BYTE, pub *mut CK_ULONG);

/// Checks that `count` things of `size` bytes can stand at `address`; the count as a `usize`.
///
/// Errors: `ArgumentsBad` for NULL with a count, for more than `max` of them, and for what would wrap around the address space.
fn extent(address: usize, count: CK_ULONG, size: usize, max: usize, name: &str) -> Result<usize> {
    let bad = |what: &str| refuse(Code::ArgumentsBad, format!("{name} is {what}, with a length of {count}"));
    let count_checked =
        usize::try_from(count).ok().filter(|count| *count <= max).ok_or_else(|| bad("longer than any we accept"))?;
    if count_checked > 0 && address == 0 {
        return Err(bad("NULL"));
    }
    let end = count_checked.checked_mul(size).and_then(|len| address.checked_add(len)).filter(|end| *end <= isize::MAX as usize);
    end.map(|_| count_checked).ok_or_else(|| bad("beyond the end of memory"))
}

/// The caller's bytes. NULL with length 0 is empty.
///
/// # Safety
/// The caller's promise holds for as long as the slice is used.
pub unsafe fn bytes<'a>(given: Given, name: &str) -> Result<&'a [u8]> {
    let Given(start, len) = given;
    match extent(start.addr(), len, 1, INPUT_MAX_BYTES, name)? {
        0 => Ok(&[]),
        // SAFETY: not NULL, within the address space, and good for `len` bytes by the caller's promise.
        len => Ok(unsafe { slice::from_raw_parts(start, len) }),
    }
}

/// The caller's bytes to be filled with random ones. NULL with length 0 is empty.
///
/// # Safety
/// The caller's promise holds for as long as the slice is used, and no other reference to these bytes is.
pub unsafe fn random_buffer<'a>(start: *mut CK_BYTE, len: CK_ULONG) -> Result<&'a mut [u8]> {
    match extent(start.addr(), len, 1, RANDOM_MAX_BYTES, "pRandomData")? {
        0 => Ok(&mut []),
        // SAFETY: not NULL, within the address space, and good for `len` bytes by the caller's promise.
        len => Ok(unsafe { slice::from_raw_parts_mut(start, len) }),
    }
}

/// One structure, copied out at whatever address it stands.
///
/// # Safety
/// The caller's promise; and every pattern of bytes is a valid `T` (C structures of numbers and data pointers are).
pub unsafe fn read<T: Copy>(pointer: *const T, name: &str) -> Result<T> {
    extent(pointer.addr(), 1, size_of::<T>(), 1, name)?;
    // SAFETY: not NULL and good for a `T` by the caller's promise; alignment is not needed.
    Ok(unsafe { pointer.read_unaligned() })
}

/// At most `max` structures, copied out. NULL with count 0 is empty.
///
/// # Safety
/// As for [`read`].
pub unsafe fn read_array<T: Copy>(pointer: *const T, count: CK_ULONG, max: usize, name: &str) -> Result<Vec<T>> {
    let count = extent(pointer.addr(), count, size_of::<T>(), max, name)?;
    // SAFETY: `count` structures stand there by the caller's promise; alignment is not needed.
    Ok((0..count).map(|at| unsafe { pointer.add(at).read_unaligned() }).collect())
}

/// A PIN, copied into wiped memory. A longer one than any PIN may be is cut one byte past the bound, so that it stays wrong.
///
/// Errors: `ArgumentsBad` for NULL, whatever the length: it asks for a protected authentication path, which we do not have.
///
/// # Safety
/// The caller's promise.
pub unsafe fn pin(start: *const CK_BYTE, len: CK_ULONG, name: &str) -> Result<Secret> {
    if start.is_null() {
        return Err(refuse(Code::ArgumentsBad, format!("{name} is NULL: there is no protected authentication path")));
    }
    // SAFETY: the caller's promise; the slice is not used after this call.
    let bytes = unsafe { bytes(Given(start, len), name) }?;
    Ok(Secret::copy_of(&bytes[..bytes.len().min(PIN_LEN_MAX_BYTES + 1)]))
}

/// The caller's place for one value: not NULL, at any address, written when the call has succeeded.
pub struct Place<T>(NonNull<T>);

impl<T: Copy> Place<T> {
    /// # Safety
    /// The caller's promise holds until the place is written or dropped.
    pub unsafe fn at(pointer: *mut T, name: &str) -> Result<Self> {
        extent(pointer.addr(), 1, size_of::<T>(), 1, name)?;
        NonNull::new(pointer).map(Self).ok_or_else(|| refuse(Code::ArgumentsBad, format!("{name} is NULL")))
    }

    /// What stands there now.
    pub fn get(&self) -> T {
        // SAFETY: `at` was promised that a `T` stands here; alignment is not needed.
        unsafe { self.0.as_ptr().read_unaligned() }
    }

    /// Writes the value.
    pub fn put(self, value: T) {
        // SAFETY: `at` was promised room for a `T`; alignment is not needed.
        unsafe { self.0.as_ptr().write_unaligned(value) }
    }
}

/// Input of an operation: the caller's own bytes, or a copy where the output overlaps them (encryption in place).
pub enum Input<'a> {
    /// The caller's memory.
    Direct(&'a [u8]),
    /// A copy, wiped when it is dropped.
    Copied(Secret),
}

impl Deref for Input<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Input::Direct(bytes) => bytes,
            Input::Copied(copy) => copy.expose(),
        }
    }
}

/// The second half of the length protocol: where the length goes when the operation has answered (PKCS#11 3.1, 5.2).
#[must_use]
pub struct Reply {
    len: Place<CK_ULONG>,
    /// Length of the buffer; `None` for a query.
    room: Option<usize>,
}

impl Reply {
    /// Tells the caller the length.
    ///
    /// Errors: `BufferTooSmall`, when the length needed has been told instead.
    pub fn settle(self, filled: Filled) -> Result<()> {
        match filled {
            Filled::Length(len) => {
                assert!(self.room.is_none_or(|room| len <= room), "an operation wrote past the buffer that it had");
                self.len.put(len as CK_ULONG);
                Ok(())
            }
            Filled::TooSmall(needed) => {
                self.len.put(needed as CK_ULONG);
                let code = if faults::on(Fault::SmallBufferCode) { Code::ArgumentsBad } else { Code::BufferTooSmall };
                Err(refuse(code, format!("the result takes {needed} bytes")))
            }
        }
    }
}

/// A place for a result of variable length.
///
/// # Safety
/// The caller's promise holds until the reply is settled, and no other reference to the buffer's bytes is used meanwhile.
pub unsafe fn output<'a>(asked: Asked) -> Result<(Output<'a>, Reply)> {
    let Asked(start, len) = asked;
    // SAFETY: the caller's promise.
    let len = unsafe { Place::at(len, "the output's length") }?;
    if start.is_null() {
        return Ok((Output::Query, Reply { len, room: None }));
    }
    let room = extent(start.addr(), len.get(), 1, INPUT_MAX_BYTES, "the output buffer")?;
    // SAFETY: not NULL, within the address space, and good for `room` bytes by the caller's promise.
    let buffer = unsafe { slice::from_raw_parts_mut(start, room) };
    Ok((Output::Buffer(buffer), Reply { len, room: Some(room) }))
}

/// Input and a place for output, which may overlap: the input is copied then, so that no byte is borrowed twice.
///
/// Errors: `ArgumentsBad` as usual; `HostMemory` when there is no memory for the copy.
///
/// # Safety
/// The caller's promise holds until the reply is settled.
pub unsafe fn exchange<'a>(given: Given, asked: Asked) -> Result<(Input<'a>, Output<'a>, Reply)> {
    let Given(start, _) = given;
    // SAFETY: the caller's promise. This borrow ends before the output's begins, unless the two are apart.
    let input = unsafe { bytes(given, "the input") }?;
    let room = match asked {
        Asked(output, len) if !output.is_null() && !len.is_null() => {
            // SAFETY: not NULL, and good for a number by the caller's promise.
            let len = unsafe { len.read_unaligned() };
            output.addr()..output.addr().saturating_add(usize::try_from(len).unwrap_or(usize::MAX))
        }
        _ => 0..0,
    };
    let apart = input.is_empty() || room.is_empty() || start.addr() >= room.end || start.addr() + input.len() <= room.start;
    let input = if apart { Input::Direct(input) } else { Input::Copied(copy_of(input)?) };
    // SAFETY: the caller's promise; where the output overlaps, the input is a copy by now.
    let (output, reply) = unsafe { output(asked) }?;
    Ok((input, output, reply))
}

/// A copy without the right to abort the process.
fn copy_of(bytes: &[u8]) -> Result<Secret> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).doing(Code::HostMemory, "copying the input of an operation in place")?;
    copy.extend_from_slice(bytes);
    Ok(Secret::new(copy))
}

/// Answers with a list: only its length when the array is NULL, else the values if they fit.
///
/// Errors: `ArgumentsBad` when the count is NULL; `BufferTooSmall` when the array is shorter, with the count needed in its place.
///
/// # Safety
/// The caller's promise.
pub unsafe fn put_list<T: Copy>(values: &[T], array: *mut T, count: *mut CK_ULONG) -> Result<()> {
    // SAFETY: the caller's promise.
    let count = unsafe { Place::at(count, "pulCount") }?;
    let room = count.get();
    count.put(values.len() as CK_ULONG);
    if array.is_null() {
        return Ok(());
    }
    if room < values.len() as CK_ULONG && faults::on(Fault::ShortListIsOk) {
        return Ok(());
    }
    if room < values.len() as CK_ULONG {
        return Err(refuse(
            Code::BufferTooSmall,
            format!("the list has {} entries, the array has room for {room}", values.len()),
        ));
    }
    // SAFETY: the array has room for as many by the caller's promise.
    unsafe { put_array(values, array) };
    Ok(())
}

/// Writes the values to an array that has room for them, wherever it stands.
///
/// # Safety
/// `array` has room for all the values.
pub unsafe fn put_array<T: Copy>(values: &[T], array: *mut T) {
    // Copied as bytes, because the caller's array need not be aligned.
    // SAFETY: both are good for so many bytes, and ours is not the caller's.
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr().cast::<u8>(), array.cast::<u8>(), size_of_val(values)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(result: Result<T>) -> Code {
        result.err().map(|error| error.code()).unwrap()
    }

    #[test]
    fn null_is_empty_only_without_a_length() {
        // SAFETY: NULL, or refused.
        unsafe {
            assert!(bytes(Given(std::ptr::null(), 0), "x").unwrap().is_empty());
            assert_eq!(code(bytes(Given(std::ptr::null(), 1), "x")), Code::ArgumentsBad);
            assert!(read_array::<u64>(std::ptr::null(), 0, 4, "x").unwrap().is_empty());
            assert_eq!(code(read_array::<u64>(std::ptr::null(), 1, 4, "x")), Code::ArgumentsBad);
            assert_eq!(code(read::<u64>(std::ptr::null(), "x")), Code::ArgumentsBad);
            assert!(random_buffer(std::ptr::null_mut(), 0).unwrap().is_empty());
            assert_eq!(code(pin(std::ptr::null(), 0, "x")), Code::ArgumentsBad);
        }
    }

    #[test]
    fn bounds_hold_at_the_limit_and_one_past_it() {
        let at = 1 << 20;
        assert_eq!(extent(at, INPUT_MAX_BYTES as u64, 1, INPUT_MAX_BYTES, "x").unwrap(), INPUT_MAX_BYTES);
        assert_eq!(code(extent(at, INPUT_MAX_BYTES as u64 + 1, 1, INPUT_MAX_BYTES, "x")), Code::ArgumentsBad);
        assert_eq!(extent(isize::MAX as usize - 8, 8, 1, 8, "x").unwrap(), 8);
        assert_eq!(code(extent(isize::MAX as usize - 7, 8, 1, 8, "x")), Code::ArgumentsBad);
        assert_eq!(code(extent(at, 1 << 40, 1 << 30, 1 << 50, "x")), Code::ArgumentsBad);
        let values = [7_u64; 5];
        // SAFETY: our own array, with its length or one that is refused.
        unsafe {
            assert_eq!(read_array(values.as_ptr(), 5, 5, "x").unwrap(), values);
            assert_eq!(code(read_array(values.as_ptr(), 5, 4, "x")), Code::ArgumentsBad);
        }
    }

    #[test]
    fn a_pin_longer_than_any_stays_wrong_and_is_cut() {
        let long = [b'1'; 1000];
        // SAFETY: our own array, with its length.
        let pins = unsafe { [pin(long.as_ptr(), 255, "x"), pin(long.as_ptr(), 256, "x"), pin(long.as_ptr(), 1000, "x")] };
        assert_eq!(pins.map(|pin| pin.unwrap().len()), [255, 256, 256]);
    }

    #[test]
    fn alignment_does_not_matter() {
        let mut room = [0_u8; 33];
        let odd = room.as_mut_ptr().wrapping_add(1);
        // SAFETY: our own array, long enough for four numbers behind its first byte.
        unsafe {
            Place::at(odd.cast::<u64>(), "x").unwrap().put(0x0102_0304_0506_0708);
            assert_eq!(read(odd.cast::<u64>(), "x").unwrap(), 0x0102_0304_0506_0708);
            let mut count = 3;
            put_list(&[1_u64, 2, 3], odd.cast(), &raw mut count).unwrap();
            assert_eq!((read_array(odd.cast::<u64>(), 3, 3, "x").unwrap(), count), (vec![1, 2, 3], 3));
        }
        assert_eq!(room[0], 0);
    }

    #[test]
    fn a_list_that_does_not_fit_leaves_the_array_alone() {
        let (mut room, mut count) = ([9_u64; 3], 2);
        // SAFETY: our own variables, with their lengths.
        unsafe {
            assert_eq!(code(put_list(&[1, 2, 3], room.as_mut_ptr(), &raw mut count)), Code::BufferTooSmall);
            assert_eq!((room, count), ([9; 3], 3));
            count = 0;
            put_list(&[1_u64, 2, 3], std::ptr::null_mut(), &raw mut count).unwrap();
            assert_eq!(count, 3);
            assert_eq!(code(put_list(&[1_u64], std::ptr::null_mut(), std::ptr::null_mut())), Code::ArgumentsBad);
        }
    }

    /// What `exchange` makes of input at `from` and output at `to` of one array, both 8 bytes long.
    fn is_copied(from: usize, to: usize) -> bool {
        let mut room: [u8; 32] = std::array::from_fn(|at| at as u8);
        let start = room.as_mut_ptr();
        let mut len = 8;
        // SAFETY: our own variables, with their lengths.
        let (input, output, reply) =
            unsafe { exchange(Given(start.wrapping_add(from), 8), Asked(start.wrapping_add(to), &raw mut len)).unwrap() };
        let Output::Buffer(buffer) = output else { panic!("there is a buffer") };
        // Written before the input is read, as a careless cipher may.
        buffer.fill(0xff);
        assert!(input.iter().enumerate().all(|(at, byte)| usize::from(*byte) == from + at), "the output changed the input");
        let copied = matches!(input, Input::Copied(_));
        reply.settle(Filled::Length(5)).unwrap();
        assert_eq!(len, 5);
        copied
    }

    #[test]
    fn input_is_copied_exactly_where_the_output_overlaps() {
        for (from, to, copied) in [(0, 0, true), (0, 7, true), (7, 0, true), (0, 8, false), (8, 0, false), (0, 24, false)] {
            assert_eq!(is_copied(from, to), copied, "input at {from}, output at {to}");
        }
    }

    #[test]
    fn the_length_protocol_tells_lengths() {
        let (mut room, mut len) = ([0_u8; 4], 4);
        // SAFETY: our own variables, with their lengths.
        unsafe {
            let (_, reply) = output(Asked(room.as_mut_ptr(), &raw mut len)).unwrap();
            assert_eq!(code(reply.settle(Filled::TooSmall(9))), Code::BufferTooSmall);
            assert_eq!(len, 9);
            let (query, reply) = output(Asked(std::ptr::null_mut(), &raw mut len)).unwrap();
            assert!(matches!(query, Output::Query));
            reply.settle(Filled::Length(7)).unwrap();
            assert_eq!(len, 7);
            assert_eq!(code(output(Asked(room.as_mut_ptr(), std::ptr::null_mut()))), Code::ArgumentsBad);
            len = u64::MAX;
            assert_eq!(code(output(Asked(room.as_mut_ptr(), &raw mut len))), Code::ArgumentsBad);
        }
    }

    #[test]
    #[should_panic(expected = "past the buffer")]
    fn an_answer_longer_than_its_buffer_is_our_bug() {
        let (mut room, mut len) = ([0_u8; 4], 4);
        // SAFETY: our own variables, with their lengths.
        let (_, reply) = unsafe { output(Asked(room.as_mut_ptr(), &raw mut len)) }.unwrap();
        drop(reply.settle(Filled::Length(5)));
    }
}
