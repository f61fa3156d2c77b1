//! Digests, and the functions that run two operations over the same data.

use super::cipher::{Ciphering, part};
use super::handle::Handle;
use super::operation::{AnyCell, Cell};
use super::sessions::Inside;
use super::{Filled, Library, Output};
use crate::ck::MechanismType;
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::mechanism::{Digester, Mechanism, Step};
use crate::token::Started;

/// What a cell for a digest holds.
pub(super) struct Digest {
    /// The mechanism, for the saved state.
    pub kind: MechanismType,
    pub state: Box<dyn Digester>,
    /// A key has gone into it: it ends at logout, and its state, which shows what was digested last, is not given away.
    pub keyed: bool,
}

impl Digest {
    fn output_len(&self) -> usize {
        self.state.output_len()
    }

    fn finish(self, out: &mut [u8]) -> Result<usize> {
        let len = self.output_len();
        self.state.finish(out).map(|()| len)
    }
}

impl Library {
    /// `C_DigestInit`. `None` ends the running digest (PKCS#11 3.0).
    ///
    /// Errors: `OperationActive`, `MechanismInvalid`; `ArgumentsBad` for `None` when nothing runs.
    pub fn digest_init(&self, session: u64, mechanism: Option<Mechanism>) -> Result<()> {
        let session = self.session(session)?;
        let cells = &mut session.lock().cells;
        let Some(mechanism) = mechanism else { return cells.digest.abandon() };
        cells.digest.start(0, || {
            let mechanism = self.offered(&session, mechanism)?;
            let state = session.token.digest(&mechanism)?;
            Ok(Started { operation: Digest { kind: mechanism.kind, state, keyed: false }, authenticate: None })
        })
    }

    /// `C_Digest`.
    pub fn digest(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let cell = &mut session.lock().cells.digest;
        cell.end_with_output(Step::Single, Digest::output_len, out, |mut digest, buffer| {
            digest.state.update(data)?;
            digest.finish(buffer)
        })
    }

    /// `C_DigestUpdate`.
    pub fn digest_update(&self, session: u64, data: &[u8]) -> Result<()> {
        let data = if data.len() == 1 && faults::on(Fault::SingleBytesAreLost) { &[] } else { data };
        self.session(session)?.lock().cells.digest.update(|digest| digest.state.update(data))
    }

    /// `C_DigestKey`. A handle that names nothing leaves the digest running, as SoftHSM does; every other error ends it.
    ///
    /// Errors: `OperationNotInitialized`, `KeyHandleInvalid`, `KeyIndigestible`.
    pub fn digest_key(&self, session: u64, key: u64) -> Result<()> {
        let session = self.session(session)?;
        let Inside { cells, memo } = &mut *session.lock();
        cells.digest.look()?;
        let key = self.object_in(memo, &session, Handle::of(key), Code::KeyHandleInvalid)?;
        let access = memo.access(&session);
        cells.digest.update(|digest| {
            digest.keyed = true;
            session.token.digest_key(access, key.id, &mut *digest.state)
        })
    }

    /// `C_DigestFinal`.
    pub fn digest_final(&self, session: u64, out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let cell = &mut session.lock().cells.digest;
        cell.end_with_output(Step::Final, Digest::output_len, out, Digest::finish)
    }

    /// `C_DigestEncryptUpdate`.
    pub fn digest_encrypt_update(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let cells = &mut session.lock().cells;
        both(&mut cells.encrypt, &mut cells.digest, Plaintext::Input, data, out, |digest, plain| digest.state.update(plain))
    }

    /// `C_DecryptDigestUpdate`.
    pub fn decrypt_digest_update(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let cells = &mut session.lock().cells;
        both(&mut cells.decrypt, &mut cells.digest, Plaintext::Output, data, out, |digest, plain| digest.state.update(plain))
    }

    /// `C_SignEncryptUpdate`.
    pub fn sign_encrypt_update(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let cells = &mut session.lock().cells;
        both(&mut cells.encrypt, &mut cells.sign, Plaintext::Input, data, out, |signer, plain| signer.update(plain))
    }

    /// `C_DecryptVerifyUpdate`.
    pub fn decrypt_verify_update(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let cells = &mut session.lock().cells;
        both(&mut cells.decrypt, &mut cells.verify, Plaintext::Output, data, out, |verifier, plain| verifier.update(plain))
    }
}

/// Which side of the cipher the second operation sees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plaintext {
    Input,
    Output,
}

/// One Update of two operations. An error ends both: one of them may have taken the part already.
fn both<O>(
    cipher: &mut Cell<Ciphering>,
    second: &mut Cell<O>,
    plaintext: Plaintext,
    data: &[u8],
    out: Output<'_>,
    feed: impl FnOnce(&mut O, &[u8]) -> Result<()>,
) -> Result<Filled> {
    if !cipher.is_running() || !second.is_running() {
        return Err(refuse(Code::OperationNotInitialized, "both operations of a function for two must have been started"));
    }
    let filled = part(cipher, data, out, |output| {
        second.update(|second| feed(second, if plaintext == Plaintext::Input { data } else { output }))
    });
    if filled.is_err() {
        second.cancel();
    }
    filled
}
