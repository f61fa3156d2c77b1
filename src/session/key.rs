//! Keys and random numbers.

use super::{Filled, Library, Output};
use crate::error::{Code, Result};
use crate::faults::{self, Fault};
use crate::mechanism::Mechanism;
use crate::object::Template;

impl Library {
    /// `C_GenerateKey`.
    pub fn generate_key(&self, session: u64, mechanism: Mechanism, template: Template) -> Result<u64> {
        let session = self.session(session)?;
        let mechanism = self.offered(&session, mechanism)?;
        let reference = session.token.generate(&session.access(), &mechanism, template)?;
        self.adopt(&session, reference)
    }

    /// `C_GenerateKeyPair`: public, private.
    pub fn generate_key_pair(
        &self,
        session: u64,
        mechanism: Mechanism,
        public: Template,
        private: Template,
    ) -> Result<(u64, u64)> {
        let session = self.session(session)?;
        let mechanism = self.offered(&session, mechanism)?;
        let (public, private) = session.token.generate_pair(&session.access(), &mechanism, public, private)?;
        // Both are adopted before either can fail, so that neither is left without a session.
        let (public, private) = (self.adopt(&session, public), self.adopt(&session, private));
        Ok((public?, private?))
    }

    /// `C_WrapKey`. A query and a short buffer are answered with the exact length, at the cost of wrapping once more.
    ///
    /// Errors: `WrappingKeyHandleInvalid`, `KeyHandleInvalid`, `MechanismInvalid`; what the token says.
    pub fn wrap_key(&self, session: u64, mechanism: Mechanism, wrapping: u64, key: u64, out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let mechanism = self.offered(&session, mechanism)?;
        let wrapping = self.object(&session, wrapping, Code::WrappingKeyHandleInvalid)?;
        let key = self.object(&session, key, Code::KeyHandleInvalid)?;
        let wrapped = session.token.wrap(&session.access(), &mechanism, wrapping.id, key.id)?;
        Ok(out.put(&wrapped))
    }

    /// `C_UnwrapKey`. Errors: `UnwrappingKeyHandleInvalid`, `MechanismInvalid`; what the token says.
    pub fn unwrap_key(
        &self,
        session: u64,
        mechanism: Mechanism,
        unwrapping: u64,
        wrapped: &[u8],
        template: Template,
    ) -> Result<u64> {
        let session = self.session(session)?;
        let mechanism = self.offered(&session, mechanism)?;
        let unwrapping = self.object(&session, unwrapping, Code::UnwrappingKeyHandleInvalid)?;
        let reference = session.token.unwrap(&session.access(), &mechanism, unwrapping.id, wrapped, template)?;
        self.adopt(&session, reference)
    }

    /// `C_DeriveKey`. Errors: `KeyHandleInvalid`, `MechanismInvalid`; what the token says.
    pub fn derive_key(&self, session: u64, mechanism: Mechanism, base: u64, template: Template) -> Result<u64> {
        let session = self.session(session)?;
        let mechanism = self.offered(&session, mechanism)?;
        let base = self.object(&session, base, Code::KeyHandleInvalid)?;
        let reference = session.token.derive(&session.access(), &mechanism, base.id, template)?;
        self.adopt(&session, reference)
    }

    /// `C_SeedRandom`: accepted, as SoftHSM does; the generator seeds itself from the system and takes nothing from callers.
    pub fn seed_random(&self, session: u64, _seed: &[u8]) -> Result<()> {
        self.check_session(session)
    }

    /// `C_GenerateRandom`.
    pub fn generate_random(&self, session: u64, out: &mut [u8]) -> Result<()> {
        let session = self.session(session)?;
        if faults::on(Fault::RandomIsNotWritten) {
            return Ok(());
        }
        session.token.random(out)
    }
}
