//! Digests, and the functions that run two operations over the same data.

use super::operation::Cell;
use super::{Filled, Library, Output};
use crate::error::{Code, Result, refuse};
use crate::mechanism::{Cipher, Mechanism};
use crate::secret::Secret;
use crate::token::Started;

impl Library {
    /// `C_DigestInit`. `None` cancels (PKCS#11 3.0).
    pub fn digest_init(&self, session: u64, mechanism: Option<Mechanism>) -> Result<()> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        let Some(mechanism) = mechanism else {
            return cells.digest.abandon();
        };
        let kind = mechanism.kind;
        cells.digest.start(|| {
            let mechanism = self.offered(&session, mechanism)?;
            Ok(Started { operation: session.token.digest(&mechanism)?, authenticate: false })
        })?;
        cells.digest_kind = Some(kind);
        Ok(())
    }

    /// `C_Digest`.
    pub fn digest(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        cells.digest.single_out(
            |digest| digest.output_len(),
            out,
            |mut digest, buffer| {
                let len = digest.output_len();
                digest.update(data)?;
                digest.finish(buffer).map(|()| len)
            },
        )
    }

    /// `C_DigestUpdate`.
    pub fn digest_update(&self, session: u64, data: &[u8]) -> Result<()> {
        self.session(session)?.cells.lock().digest.update(|digest| digest.update(data))
    }

    /// `C_DigestKey`.
    pub fn digest_key(&self, session: u64, key: u64) -> Result<()> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        cells.digest.look()?;
        let key = self.object(&session, key, Code::KeyHandleInvalid)?;
        let access = self.access(&session);
        cells.digest.update(|digest| session.token.digest_key(&access, key.id, &mut **digest))
    }

    /// `C_DigestFinal`.
    pub fn digest_final(&self, session: u64, out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        cells.digest.finish_out(
            |digest| digest.output_len(),
            out,
            |digest, buffer| {
                let len = digest.output_len();
                digest.finish(buffer).map(|()| len)
            },
        )
    }

    /// `C_DigestEncryptUpdate`.
    pub fn digest_encrypt_update(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        both(cells.digest.is_running(), cells.encrypt.is_running())?;
        let filled = encrypt_first(&mut cells.encrypt, data, out)?;
        if let (Filled::Length(_), true) = (filled.0, filled.1) {
            cells.digest.update(|digest| digest.update(data))?;
        }
        Ok(filled.0)
    }

    /// `C_SignEncryptUpdate`.
    pub fn sign_encrypt_update(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        both(cells.sign.is_running(), cells.encrypt.is_running())?;
        let filled = encrypt_first(&mut cells.encrypt, data, out)?;
        if let (Filled::Length(_), true) = (filled.0, filled.1) {
            cells.sign.update(|signer| signer.update(data))?;
        }
        Ok(filled.0)
    }

    /// `C_DecryptDigestUpdate`.
    pub fn decrypt_digest_update(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        both(cells.digest.is_running(), cells.decrypt.is_running())?;
        let (filled, plaintext) = decrypt_first(&mut cells.decrypt, data, out)?;
        if let Some(plaintext) = plaintext {
            cells.digest.update(|digest| digest.update(plaintext.expose()))?;
        }
        Ok(filled)
    }

    /// `C_DecryptVerifyUpdate`.
    pub fn decrypt_verify_update(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        both(cells.verify.is_running(), cells.decrypt.is_running())?;
        let (filled, plaintext) = decrypt_first(&mut cells.decrypt, data, out)?;
        if let Some(plaintext) = plaintext {
            cells.verify.update(|verifier| verifier.update(plaintext.expose()))?;
        }
        Ok(filled)
    }
}

fn both(first: bool, second: bool) -> Result<()> {
    if first && second {
        return Ok(());
    }
    Err(refuse(Code::OperationNotInitialized, "both operations of a dual function must have been started"))
}

/// The ciphertext, and whether the data was taken (not only asked about).
fn encrypt_first(cell: &mut Cell<Box<dyn Cipher>>, data: &[u8], out: Output<'_>) -> Result<(Filled, bool)> {
    let taken = matches!(out, Output::Buffer(_));
    let filled = cell.update_out(|cipher| cipher.update_len(data.len()), out, |cipher, buffer| cipher.update(data, buffer))?;
    Ok((filled, taken))
}

/// The plaintext goes to the caller and, as a copy that is wiped, to the second operation.
fn decrypt_first(cell: &mut Cell<Box<dyn Cipher>>, data: &[u8], out: Output<'_>) -> Result<(Filled, Option<Secret>)> {
    let mut plaintext = None;
    let filled = cell.update_out(
        |cipher| cipher.update_len(data.len()),
        out,
        |cipher, buffer| {
            let len = cipher.update(data, buffer)?;
            plaintext = Some(Secret::copy_of(&buffer[..len]));
            Ok(len)
        },
    )?;
    Ok((filled, plaintext))
}
