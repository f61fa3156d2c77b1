//! Encryption and decryption.

use super::operation::{Step, finish_cipher};
use super::{Filled, Library, Output};
use crate::error::Result;
use crate::mechanism::Mechanism;

impl Library {
    /// `C_EncryptInit`. `None` cancels (PKCS#11 3.0).
    pub fn encrypt_init(&self, session: u64, mechanism: Option<Mechanism>, key: u64) -> Result<()> {
        self.init(
            session,
            mechanism,
            key,
            |cells| &mut cells.encrypt,
            |s, access, mechanism, key| s.token.encrypt(access, mechanism, key),
        )
    }

    /// `C_Encrypt`.
    pub fn encrypt(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        finish_cipher(&mut self.session(session)?.cells.lock().encrypt, Step::Single, data, out)
    }

    /// `C_EncryptUpdate`.
    pub fn encrypt_update(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        cells.encrypt.update_out(|cipher| cipher.update_len(data.len()), out, |cipher, buffer| cipher.update(data, buffer))
    }

    /// `C_EncryptFinal`.
    pub fn encrypt_final(&self, session: u64, out: Output<'_>) -> Result<Filled> {
        finish_cipher(&mut self.session(session)?.cells.lock().encrypt, Step::Final, &[], out)
    }

    /// `C_DecryptInit`. `None` cancels (PKCS#11 3.0).
    pub fn decrypt_init(&self, session: u64, mechanism: Option<Mechanism>, key: u64) -> Result<()> {
        self.init(
            session,
            mechanism,
            key,
            |cells| &mut cells.decrypt,
            |s, access, mechanism, key| s.token.decrypt(access, mechanism, key),
        )
    }

    /// `C_Decrypt`.
    pub fn decrypt(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        finish_cipher(&mut self.session(session)?.cells.lock().decrypt, Step::Single, data, out)
    }

    /// `C_DecryptUpdate`.
    pub fn decrypt_update(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        cells.decrypt.update_out(|cipher| cipher.update_len(data.len()), out, |cipher, buffer| cipher.update(data, buffer))
    }

    /// `C_DecryptFinal`.
    pub fn decrypt_final(&self, session: u64, out: Output<'_>) -> Result<Filled> {
        finish_cipher(&mut self.session(session)?.cells.lock().decrypt, Step::Final, &[], out)
    }
}
