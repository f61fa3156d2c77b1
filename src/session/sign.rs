//! Signing, verifying, with and without message recovery.

use super::handle::Handle;
use super::operation::Cell;
use super::sessions::{Cells, Inside};
use super::{Filled, Library, Output};
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::mechanism::{Mechanism, Step};
use crate::object::ObjectId;
use crate::token::{Access, Started, Token};

impl Library {
    /// What every `C_*Init` with a key does. `None` ends what runs (PKCS#11 3.0).
    ///
    /// Errors: `OperationActive`, `MechanismInvalid`, `KeyHandleInvalid`; `ArgumentsBad` for `None` when nothing runs; what the token says.
    pub(super) fn init<O>(
        &self,
        session: u64,
        mechanism: Option<Mechanism>,
        key: u64,
        cell: fn(&mut Cells) -> &mut Cell<O>,
        start: impl FnOnce(&(dyn Token + 'static), &Access, &Mechanism, ObjectId) -> Result<Started<O>>,
    ) -> Result<()> {
        let session = self.session(session)?;
        let Inside { cells, memo } = &mut *session.lock();
        let turn = cells.next_turn();
        let cell = cell(cells);
        let Some(mechanism) = mechanism else { return cell.abandon() };
        cell.start(turn, || {
            let mechanism = self.offered(&session, mechanism)?;
            let key = self.object_in(memo, &session, Handle::of(key), Code::KeyHandleInvalid)?;
            start(&*session.token, memo.access(&session), &mechanism, key.id)
        })
    }

    /// `C_SignInit`. `None` ends the running signature (PKCS#11 3.0).
    pub fn sign_init(&self, session: u64, mechanism: Option<Mechanism>, key: u64) -> Result<()> {
        self.init(session, mechanism, key, |cells| &mut cells.sign, <dyn Token>::sign)
    }

    /// `C_Sign`.
    pub fn sign(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let cell = &mut session.lock().cells.sign;
        cell.end_with_output(Step::Single, |signer| signer.signature_len(), out, |signer, buffer| signer.single(data, buffer))
    }

    /// `C_SignUpdate`.
    pub fn sign_update(&self, session: u64, data: &[u8]) -> Result<()> {
        self.session(session)?.lock().cells.sign.update(|signer| signer.update(data))
    }

    /// `C_SignFinal`.
    pub fn sign_final(&self, session: u64, out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let cell = &mut session.lock().cells.sign;
        cell.end_with_output(Step::Final, |signer| signer.signature_len(), out, |signer, buffer| signer.finish(buffer))
    }

    /// `C_SignRecoverInit`. `None` ends the running operation (PKCS#11 3.0).
    pub fn sign_recover_init(&self, session: u64, mechanism: Option<Mechanism>, key: u64) -> Result<()> {
        self.init(session, mechanism, key, |cells| &mut cells.sign_recover, <dyn Token>::sign_recover)
    }

    /// `C_SignRecover`.
    pub fn sign_recover(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let cell = &mut session.lock().cells.sign_recover;
        cell.end_with_output(Step::Single, |it| it.output_len(data.len()), out, |it, buffer| it.single(data, buffer))
    }

    /// `C_VerifyInit`. `None` ends the running verification (PKCS#11 3.0).
    pub fn verify_init(&self, session: u64, mechanism: Option<Mechanism>, key: u64) -> Result<()> {
        self.init(session, mechanism, key, |cells| &mut cells.verify, <dyn Token>::verify)
    }

    /// `C_Verify`: always ends the operation.
    pub fn verify(&self, session: u64, data: &[u8], signature: &[u8]) -> Result<()> {
        if signature.is_empty() && faults::on(Fault::VerifyGoesOn) {
            return Err(refuse(Code::SignatureLenRange, "a signature has more than 0 bytes"));
        }
        self.session(session)?.lock().cells.verify.end(Step::Single, |verifier| verifier.single(data, signature))
    }

    /// `C_VerifyUpdate`.
    pub fn verify_update(&self, session: u64, data: &[u8]) -> Result<()> {
        self.session(session)?.lock().cells.verify.update(|verifier| verifier.update(data))
    }

    /// `C_VerifyFinal`: always ends the operation.
    pub fn verify_final(&self, session: u64, signature: &[u8]) -> Result<()> {
        self.session(session)?.lock().cells.verify.end(Step::Final, |verifier| verifier.finish(signature))
    }

    /// `C_VerifyRecoverInit`. `None` ends the running operation (PKCS#11 3.0).
    pub fn verify_recover_init(&self, session: u64, mechanism: Option<Mechanism>, key: u64) -> Result<()> {
        self.init(session, mechanism, key, |cells| &mut cells.verify_recover, <dyn Token>::verify_recover)
    }

    /// `C_VerifyRecover`.
    pub fn verify_recover(&self, session: u64, signature: &[u8], out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let cell = &mut session.lock().cells.verify_recover;
        cell.end_with_output(Step::Single, |it| it.output_len(signature.len()), out, |it, buffer| it.single(signature, buffer))
    }
}
