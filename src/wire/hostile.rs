//! Targets of fuzzers: what comes in before anybody is known.

use std::io::{self, Read};

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use super::frame::{Reader, whole};
use super::hello::Hello;
use super::identity::{Name, name_in};
use super::record::Certificate;
use super::revoked::{number_of, parsed_list};

/// Bytes in pieces, with moments of silence between some.
struct Pieces<'a> {
    bytes: &'a [u8],
    len: usize,
    silent: bool,
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.silent = !self.silent;
        if self.silent && self.len % 2 == 1 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = self.len.min(self.bytes.len()).min(out.len());
        out[..len].copy_from_slice(&self.bytes[..len]);
        self.bytes = &self.bytes[len..];
        Ok(len)
    }
}

/// Frames; the first byte says in which pieces they come. Together they are the bytes that came.
pub fn frames(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let mut from = Pieces { bytes, len: 1 + usize::from(*cut), silent: false };
    let (mut reader, mut again) = (Reader::default(), Vec::new());
    loop {
        match reader.next(&mut from, |_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(Some((header, payload))) => match whole(header.kind, header.number, payload.expose()) {
                Ok(frame) => again.extend_from_slice(frame.expose()),
                Err(error) => panic!("a frame that was read cannot be written: {error}"),
            },
            Ok(None) => break assert!(again == bytes),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(error) => break assert!(matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)),
        }
    }
    assert!(bytes.starts_with(&again));
}

/// The first words of a connection.
pub fn hello(bytes: &[u8]) {
    let Ok(hello) = Hello::decode(bytes) else { return };
    let again = Hello::decode(&hello.encode());
    assert!(again.is_ok_and(|again| again == hello));
    let ours = Hello::new([7; 16], hello.purpose, 1);
    let (one, other) = (ours.agree(&hello), hello.agree(&ours));
    assert!(one.is_ok() == other.is_ok(), "both sides come to the same");
}

/// A certificate, of which TLS has checked only who signed it, and the name in it; a list of revoked ones; a line of the authority's record.
pub fn certificates(bytes: &[u8]) {
    let pool = [7; 16];
    if let Ok(list) = parsed_list(&CertificateRevocationListDer::from(bytes)) {
        let listed = list.iter_revoked_certificates().map(|it| it.raw_serial().len());
        assert!(listed.sum::<usize>() <= bytes.len());
        number_of(&list);
    }
    if let Some(recorded) = Certificate::of_line(&String::from_utf8_lossy(bytes)) {
        assert_eq!(Certificate::of_line(recorded.line().trim_end_matches('\n')).as_ref(), Some(&recorded));
    }
    let named = [name_in(&CertificateDer::from(bytes), &pool), Name::of_uri(&String::from_utf8_lossy(bytes), &pool)];
    for name in named.into_iter().flatten() {
        assert!(Name::of_uri(&name.uri(&pool), &pool).is_ok_and(|again| again == name));
    }
}

#[cfg(test)]
pub use samples::{certificate_samples, frame_samples, hello_samples};

/// Input of the right form.
#[cfg(test)]
mod samples {
    use std::path::Path;

    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::wire::hello::Purpose;
    use crate::wire::pki::Authority;

    /// Frames in pieces of several lengths.
    pub fn frame_samples() -> Vec<Vec<u8>> {
        let frame = |kind, number, payload: &[u8]| whole(kind, number, payload).unwrap().expose().to_vec();
        let two = [frame(0, 1, b"hello"), frame(1, 2, b"")].concat();
        let long = frame(1, u64::MAX, &[7; 40_000]);
        [0, 1, 13, 255].iter().flat_map(|cut| [two.clone(), long.clone()].map(|bytes| [&[*cut], &bytes[..]].concat())).collect()
    }

    /// A hello of each purpose.
    pub fn hello_samples() -> Vec<Vec<u8>> {
        [Purpose::Client, Purpose::Peer, Purpose::Operator].map(|purpose| Hello::new([7; 16], purpose, 3).encode()).to_vec()
    }

    /// Certificates and the names in them.
    pub fn certificate_samples() -> Vec<Vec<u8>> {
        let pool = [7; 16];
        let directory = std::env::temp_dir().join(format!("hsmpool-hostile-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let authority = Authority::create(&directory, pool).unwrap();
        let tokens = Some(vec!["one".to_string(), "two".to_string()]);
        let names = [Name::Node(5), Name::Client { name: "web".to_string(), tokens }, Name::Operator("ann".to_string())];
        let der = |file: &Path| CertificateDer::from_pem_file(file).unwrap().to_vec();
        let issued = names.iter().map(|name| der(&authority.issue(name, 1, &directory.join("other")).unwrap().certificate));
        let mut samples: Vec<Vec<u8>> = issued.collect();
        samples.push(der(&directory.join("ca.pem")));
        let revoked = authority.revoke(&authority.issued().unwrap().0).unwrap();
        samples.push(CertificateRevocationListDer::from_pem_file(revoked.list).unwrap().to_vec());
        let record = std::fs::read_to_string(directory.join("issued")).unwrap();
        samples.extend(record.lines().map(|line| line.as_bytes().to_vec()));
        samples.extend(names.iter().map(|name| name.uri(&pool).into_bytes()));
        std::fs::remove_dir_all(&directory).unwrap();
        samples
    }
}
