//! Objects: created, copied, read, changed, destroyed.

use super::Library;
use super::sessions::Session;
use crate::ck::AttributeType;
use crate::error::{Code, Error, Result};
use crate::faults::{self, Fault};
use crate::object::{ObjectId, Template};
use crate::token::Reading;

impl Library {
    /// `C_CreateObject`.
    pub fn create_object(&self, session: u64, template: Template) -> Result<u64> {
        let session = self.session(session)?;
        let reference = session.token.create(&session.access(), template)?;
        self.adopt(&session, reference)
    }

    /// `C_CopyObject`. Errors: `ObjectHandleInvalid`; what the token says.
    pub fn copy_object(&self, session: u64, object: u64, changes: Template) -> Result<u64> {
        let session = self.session(session)?;
        let object = self.object(&session, object, Code::ObjectHandleInvalid)?;
        let copied = session.token.copy(&session.access(), object.id, changes);
        let reference = self.watch(&session, object.id, copied)?;
        self.adopt(&session, reference)
    }

    /// `C_DestroyObject`: its handle is dead in every session. Errors: `ObjectHandleInvalid`; what the token says.
    pub fn destroy_object(&self, session: u64, object: u64) -> Result<()> {
        let session = self.session(session)?;
        let object = self.object(&session, object, Code::ObjectHandleInvalid)?;
        if faults::on(Fault::DestroyedObjectStays) {
            return Ok(());
        }
        let destroyed = session.token.destroy(&session.access(), object.id);
        self.watch(&session, object.id, destroyed)?;
        self.objects.forget(session.slot.id(), object.id);
        Ok(())
    }

    /// `C_GetObjectSize`. Errors: `ObjectHandleInvalid`; what the token says.
    pub fn object_size(&self, session: u64, object: u64) -> Result<u64> {
        let session = self.session(session)?;
        let object = self.object(&session, object, Code::ObjectHandleInvalid)?;
        let size = session.token.size(&session.access(), object.id);
        self.watch(&session, object.id, size)
    }

    /// `C_GetAttributeValue`: in the order asked for. Errors: `ObjectHandleInvalid`; what the token says.
    pub fn read_attributes(&self, session: u64, object: u64, wanted: &[AttributeType]) -> Result<Vec<Reading>> {
        let session = self.session(session)?;
        let object = self.object(&session, object, Code::ObjectHandleInvalid)?;
        let read = session.token.read(&session.access(), object.id, wanted);
        self.watch(&session, object.id, read)
    }

    /// `C_SetAttributeValue`: all or nothing. Errors: `ObjectHandleInvalid`; what the token says.
    pub fn set_attributes(&self, session: u64, object: u64, changes: Template) -> Result<()> {
        let session = self.session(session)?;
        let object = self.object(&session, object, Code::ObjectHandleInvalid)?;
        let updated = session.token.update(&session.access(), object.id, changes);
        self.watch(&session, object.id, updated).map(drop)
    }

    /// An object that turns out to be gone (destroyed by another process) loses its handle.
    fn watch<T>(&self, session: &Session, id: ObjectId, answer: Result<T>) -> Result<T> {
        if answer.as_ref().err().map(Error::code) == Some(Code::ObjectHandleInvalid) {
            self.objects.forget(session.slot.id(), id);
        }
        answer
    }
}
