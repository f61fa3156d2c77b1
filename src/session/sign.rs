//! Signing, verifying, with and without message recovery.

use super::operation::Cell;
use super::{Cells, Filled, Library, Output, Session};
use crate::error::{Code, Result};
use crate::mechanism::Mechanism;
use crate::object::ObjectId;
use crate::token::{Access, Started};

impl Library {
    /// What all `C_*Init` with a key share. `None` cancels (PKCS#11 3.0).
    pub(super) fn init<O>(
        &self,
        session: u64,
        mechanism: Option<Mechanism>,
        key: u64,
        cell: fn(&mut Cells) -> &mut Cell<O>,
        start: impl FnOnce(&Session, &Access, &Mechanism, ObjectId) -> Result<Started<O>>,
    ) -> Result<()> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        let cell = cell(&mut cells);
        let Some(mechanism) = mechanism else {
            return cell.abandon();
        };
        cell.start(|| {
            let mechanism = self.offered(&session, mechanism)?;
            let key = self.object(&session, key, Code::KeyHandleInvalid)?;
            start(&session, &self.access(&session), &mechanism, key.id)
        })
    }

    /// `C_SignInit`.
    pub fn sign_init(&self, session: u64, mechanism: Option<Mechanism>, key: u64) -> Result<()> {
        self.init(
            session,
            mechanism,
            key,
            |cells| &mut cells.sign,
            |s, access, mechanism, key| s.token.sign(access, mechanism, key),
        )
    }

    /// `C_Sign`.
    pub fn sign(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        cells.sign.single_out(|signer| signer.signature_len(), out, |signer, buffer| signer.single(data, buffer))
    }

    /// `C_SignUpdate`.
    pub fn sign_update(&self, session: u64, data: &[u8]) -> Result<()> {
        self.session(session)?.cells.lock().sign.update(|signer| signer.update(data))
    }

    /// `C_SignFinal`.
    pub fn sign_final(&self, session: u64, out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        cells.sign.finish_out(|signer| signer.signature_len(), out, |signer, buffer| signer.finish(buffer))
    }

    /// `C_SignRecoverInit`.
    pub fn sign_recover_init(&self, session: u64, mechanism: Option<Mechanism>, key: u64) -> Result<()> {
        self.init(
            session,
            mechanism,
            key,
            |cells| &mut cells.sign_recover,
            |s, access, mechanism, key| s.token.sign_recover(access, mechanism, key),
        )
    }

    /// `C_SignRecover`.
    pub fn sign_recover(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        cells.sign_recover.single_out(
            |recover| recover.output_len(data.len()),
            out,
            |recover, buffer| recover.single(data, buffer),
        )
    }

    /// `C_VerifyInit`.
    pub fn verify_init(&self, session: u64, mechanism: Option<Mechanism>, key: u64) -> Result<()> {
        self.init(
            session,
            mechanism,
            key,
            |cells| &mut cells.verify,
            |s, access, mechanism, key| s.token.verify(access, mechanism, key),
        )
    }

    /// `C_Verify`: always ends the operation.
    pub fn verify(&self, session: u64, data: &[u8], signature: &[u8]) -> Result<()> {
        self.session(session)?.cells.lock().verify.single(|verifier| verifier.single(data, signature))
    }

    /// `C_VerifyUpdate`.
    pub fn verify_update(&self, session: u64, data: &[u8]) -> Result<()> {
        self.session(session)?.cells.lock().verify.update(|verifier| verifier.update(data))
    }

    /// `C_VerifyFinal`: always ends the operation.
    pub fn verify_final(&self, session: u64, signature: &[u8]) -> Result<()> {
        self.session(session)?.cells.lock().verify.finish(|verifier| verifier.finish(signature))
    }

    /// `C_VerifyRecoverInit`.
    pub fn verify_recover_init(&self, session: u64, mechanism: Option<Mechanism>, key: u64) -> Result<()> {
        self.init(
            session,
            mechanism,
            key,
            |cells| &mut cells.verify_recover,
            |s, access, mechanism, key| s.token.verify_recover(access, mechanism, key),
        )
    }

    /// `C_VerifyRecover`.
    pub fn verify_recover(&self, session: u64, signature: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        cells.verify_recover.single_out(
            |recover| recover.output_len(signature.len()),
            out,
            |recover, buffer| recover.single(signature, buffer),
        )
    }
}
