//! Frames: length (4 bytes, big-endian) | major version | kind | number (8 bytes, big-endian) | payload.
//!
//! The length is the payload's, checked before anything is reserved. The number comes back with the answer.

use std::io::{self, Read};
use std::time::Instant;

use crate::limits::FRAME_MAX_BYTES;
use crate::secret::Secret;

/// The layout of frames. Another major version does not understand them.
pub const MAJOR: u8 = 1;
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 14;
/// The first frame of each side.
pub const HELLO: u8 = 0;
/// Says in words why the connection is refused; then it is closed.
pub const REFUSED: u8 = 255;

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the payload.
    pub len: usize,
    /// What the payload is; 0 and 255 are ours, others the users'.
    pub kind: u8,
    /// Answers carry the request's.
    pub number: u64,
}

impl Header {
    /// The frame's first bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&(self.len as u32).to_be_bytes());
        bytes[4] = MAJOR;
        bytes[5] = self.kind;
        bytes[6..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    /// Errors: `InvalidData` for another version, or a payload above the bound.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> io::Result<Self> {
        let len = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        if bytes[4] != MAJOR {
            return Err(invalid(format!("frames of version {}, not {MAJOR}", bytes[4])));
        }
        if len > FRAME_MAX_BYTES {
            return Err(invalid(format!("a frame of {len} bytes; at most {FRAME_MAX_BYTES} are taken")));
        }
        let number = u64::from_be_bytes(std::array::from_fn(|at| bytes[6 + at]));
        Ok(Self { len, kind: bytes[5], number })
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A whole frame as bytes.
pub fn whole(kind: u8, number: u64, payload: &[u8]) -> io::Result<Secret> {
    if payload.len() > FRAME_MAX_BYTES {
        return Err(invalid(format!("{} bytes are more than a frame takes ({FRAME_MAX_BYTES})", payload.len())));
    }
    let mut bytes = Secret::zeroed(HEADER_BYTES + payload.len());
    bytes.expose_mut()[..HEADER_BYTES].copy_from_slice(&Header { len: payload.len(), kind, number }.encode());
    bytes.expose_mut()[HEADER_BYTES..].copy_from_slice(payload);
    Ok(bytes)
}

/// What is read at once.
const READ_BYTES: usize = 16 << 10;
/// What is reserved before the bytes are there.
const RESERVED_MAX_BYTES: usize = 256 << 10;

/// Cuts frames out of a stream of bytes. What has come of a frame is kept when the stream fails for a moment: the next call goes on there.
pub struct Reader {
    buffer: Secret,
    begin: usize,
    end: usize,
    /// A frame whose header is read, and what has come of its payload.
    under_way: Option<(Header, Secret, usize)>,
    /// The longest payload that is taken.
    len_max: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self { buffer: Secret::zeroed(READ_BYTES), begin: 0, end: 0, under_way: None, len_max: FRAME_MAX_BYTES }
    }
}

impl Reader {
    /// From now on no longer payloads are taken.
    pub fn take_up_to(&mut self, bytes: usize) {
        self.len_max = bytes;
    }

    /// The next frame; `None` when the other side has closed between two frames.
    ///
    /// `goes_on` is asked when nothing came for as long as the stream waits (`WouldBlock`, `TimedOut`): it knows whether a frame is under way.
    /// After its error the call may be repeated.
    ///
    /// Errors: the stream's; `UnexpectedEof` for half a frame; `InvalidData`.
    pub fn next(
        &mut self,
        from: &mut impl Read,
        mut goes_on: impl FnMut(bool) -> io::Result<()>,
    ) -> io::Result<Option<(Header, Secret)>> {
        if self.under_way.is_none() && !self.begin_frame(from, &mut goes_on)? {
            return Ok(None);
        }
        while let Some((header, payload, got)) = &mut self.under_way {
            if *got == header.len {
                break;
            }
            if *got == payload.len() {
                let more = header.len.min(payload.len() * 2) - payload.len();
                payload.extend(&vec![0; more]);
            }
            match retried(from, &mut payload.expose_mut()[*got..], &mut |()| goes_on(true))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => *got += more,
            }
        }
        Ok(self.under_way.take().map(|(header, payload, _)| (header, payload)))
    }

    /// Reads a header, and takes what is there of its payload; false when the other side has closed before it.
    fn begin_frame(&mut self, from: &mut impl Read, goes_on: &mut dyn FnMut(bool) -> io::Result<()>) -> io::Result<bool> {
        while self.end - self.begin < HEADER_BYTES {
            let under_way = self.end > self.begin;
            if self.fill(from, &mut |()| goes_on(under_way))? == 0 {
                return if under_way { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(false) };
            }
        }
        let header: [u8; HEADER_BYTES] = std::array::from_fn(|at| self.buffer.expose()[self.begin + at]);
        let header = Header::decode(&header)?;
        if header.len > self.len_max {
            return Err(invalid(format!("a frame of {} bytes, where at most {} are taken", header.len, self.len_max)));
        }
        self.begin += HEADER_BYTES;
        let there = (self.end - self.begin).min(header.len);
        let mut payload = Secret::zeroed(header.len.min(RESERVED_MAX_BYTES).max(there));
        payload.expose_mut()[..there].copy_from_slice(&self.buffer.expose()[self.begin..self.begin + there]);
        self.begin += there;
        self.under_way = Some((header, payload, there));
        Ok(true)
    }

    /// Reads what there is behind what is there already.
    fn fill(&mut self, from: &mut impl Read, goes_on: &mut dyn FnMut(()) -> io::Result<()>) -> io::Result<usize> {
        self.buffer.expose_mut().copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        let got = retried(from, &mut self.buffer.expose_mut()[self.end..], goes_on)?;
        self.end += got;
        Ok(got)
    }
}

fn retried(from: &mut impl Read, into: &mut [u8], goes_on: &mut dyn FnMut(()) -> io::Result<()>) -> io::Result<usize> {
    loop {
        match from.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => goes_on(())?,
            answer => return answer,
        }
    }
}

/// Refuses to wait past a moment.
pub fn until(deadline: Instant) -> impl FnMut(bool) -> io::Result<()> {
    move |_| if Instant::now() < deadline { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of so many.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(self.0.len()).min(out.len());
            out[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    fn never(_: bool) -> io::Result<()> {
        Err(io::ErrorKind::TimedOut.into())
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let long = vec![7; 700_000];
        let mut bytes = Vec::new();
        for (number, payload) in [&b""[..], b"short", &long].into_iter().enumerate() {
            bytes.extend_from_slice(whole(3, number as u64, payload).unwrap().expose());
        }
        for piece in [1, 13, 14, 15, 4096, usize::MAX] {
            let (mut from, mut reader) = (Trickle(&bytes, piece), Reader::default());
            for (number, payload) in [&b""[..], b"short", &long].into_iter().enumerate() {
                let (header, got) = reader.next(&mut from, never).unwrap().unwrap();
                assert_eq!((header.kind, header.number, header.len), (3, number as u64, payload.len()));
                assert!(got.expose() == payload);
            }
            assert!(reader.next(&mut from, never).unwrap().is_none());
        }
    }

    /// Gives one byte, then nothing for a moment, and so on.
    struct Stutter<'a>(&'a [u8], bool);

    impl Read for Stutter<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Trickle(self.0, 1).read(out).inspect(|len| self.0 = &self.0[*len..])
        }
    }

    #[test]
    fn a_reader_that_was_left_in_the_midst_of_a_frame_goes_on_there() {
        let bytes = [whole(3, 1, b"first").unwrap().expose(), whole(4, 2, b"").unwrap().expose()].concat();
        let (mut from, mut reader, mut left, mut got) = (Stutter(&bytes, false), Reader::default(), 0, Vec::new());
        while got.len() < 2 {
            match reader.next(&mut from, never) {
                Ok(frame) => got.push(frame.map(|(header, payload)| (header.kind, payload.expose().to_vec())).unwrap()),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    left += 1;
                }
            }
        }
        assert_eq!(got, [(3, b"first".to_vec()), (4, Vec::new())]);
        assert_eq!(left, bytes.len(), "it was left before each byte");
    }

    #[test]
    fn cut_off_and_hostile_frames_are_errors() {
        let frame = whole(1, 2, b"payload").unwrap();
        for len in 1..frame.len() {
            let got = Reader::default().next(&mut Trickle(&frame.expose()[..len], 3), never);
            assert_eq!(got.err().map(|error| error.kind()), Some(io::ErrorKind::UnexpectedEof), "{len} bytes");
        }
        let kind = |bytes: [u8; HEADER_BYTES]| Header::decode(&bytes).err().map(|error| error.kind());
        assert_eq!(kind([255; HEADER_BYTES]), Some(io::ErrorKind::InvalidData));
        let too_long = Header { len: FRAME_MAX_BYTES + 1, kind: 0, number: 0 }.encode();
        assert_eq!(kind(too_long), Some(io::ErrorKind::InvalidData));
        assert!(whole(0, 0, &vec![0; FRAME_MAX_BYTES + 1]).is_err());
    }

    #[test]
    fn a_reader_takes_no_longer_frames_than_it_is_told() {
        let frames = [whole(0, 1, &[0; 100]).unwrap().expose(), whole(0, 2, &[0; 101]).unwrap().expose()].concat();
        for (len_max, taken) in [(99, 0), (100, 1), (101, 2)] {
            let (mut from, mut reader) = (Trickle(&frames, 50), Reader::default());
            reader.take_up_to(len_max);
            for _ in 0..taken {
                reader.next(&mut from, never).unwrap().unwrap();
            }
            let then = reader.next(&mut from, never).map(|frame| frame.is_none());
            assert_eq!(then.map_err(|error| error.kind()), if taken == 2 { Ok(true) } else { Err(io::ErrorKind::InvalidData) });
        }
    }

    #[test]
    fn a_long_frame_that_does_not_come_reserves_little() {
        let header = Header { len: FRAME_MAX_BYTES, kind: 1, number: 0 }.encode();
        let got = Reader::default().next(&mut Trickle(&header, 14), never);
        assert_eq!(got.err().map(|error| error.kind()), Some(io::ErrorKind::UnexpectedEof));
    }
}
