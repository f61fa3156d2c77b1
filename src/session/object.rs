//! Objects and searches.

use super::Library;
use crate::ck::AttributeType;
use crate::error::{Code, Error, Result, refuse};
use crate::object::{ObjectId, Template};
use crate::token::Reading;

use super::Session;

impl Library {
    /// `C_CreateObject`.
    pub fn create_object(&self, session: u64, template: Template) -> Result<u64> {
        let session = self.session(session)?;
        let reference = session.token.create(&self.access(&session), template)?;
        Ok(self.adopt(&session, reference))
    }

    /// `C_CopyObject`.
    pub fn copy_object(&self, session: u64, object: u64, changes: Template) -> Result<u64> {
        let session = self.session(session)?;
        let object = self.object(&session, object, Code::ObjectHandleInvalid)?;
        let copied = session.token.copy(&self.access(&session), object.id, changes);
        let reference = self.watch(&session, object.id, copied)?;
        Ok(self.adopt(&session, reference))
    }

    /// `C_DestroyObject`.
    pub fn destroy_object(&self, session: u64, object: u64) -> Result<()> {
        let session = self.session(session)?;
        let object = self.object(&session, object, Code::ObjectHandleInvalid)?;
        let destroyed = session.token.destroy(&self.access(&session), object.id);
        self.watch(&session, object.id, destroyed)?;
        self.objects.forget(session.slot.id(), object.id);
        Ok(())
    }

    /// `C_GetObjectSize`.
    pub fn object_size(&self, session: u64, object: u64) -> Result<u64> {
        let session = self.session(session)?;
        let object = self.object(&session, object, Code::ObjectHandleInvalid)?;
        let size = session.token.size(&self.access(&session), object.id);
        self.watch(&session, object.id, size)
    }

    /// `C_GetAttributeValue`: in the order asked for.
    pub fn read_attributes(&self, session: u64, object: u64, wanted: &[AttributeType]) -> Result<Vec<Reading>> {
        let session = self.session(session)?;
        let object = self.object(&session, object, Code::ObjectHandleInvalid)?;
        let read = session.token.read(&self.access(&session), object.id, wanted);
        self.watch(&session, object.id, read)
    }

    /// `C_SetAttributeValue`.
    pub fn set_attributes(&self, session: u64, object: u64, changes: Template) -> Result<()> {
        let session = self.session(session)?;
        let object = self.object(&session, object, Code::ObjectHandleInvalid)?;
        let updated = session.token.update(&self.access(&session), object.id, changes);
        self.watch(&session, object.id, updated).map(drop)
    }

    /// `C_FindObjectsInit`. The search is done at once: objects made later do not turn up in it.
    pub fn find_objects_init(&self, session: u64, template: Template) -> Result<()> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        if cells.find.is_some() {
            return Err(refuse(Code::OperationActive, "this session runs a search already: finish it first"));
        }
        let found = session.token.find(&self.access(&session), &template)?;
        let mut handles = self.objects.handles(session.slot.id(), &found, &self.counter);
        handles.reverse();
        cells.find = Some(handles);
        Ok(())
    }

    /// `C_FindObjects`.
    pub fn find_objects(&self, session: u64, at_most: usize) -> Result<Vec<u64>> {
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        let left = cells.find.as_mut().ok_or_else(|| refuse(Code::OperationNotInitialized, "this session runs no search"))?;
        let keep = left.len().saturating_sub(at_most);
        let mut fetched = left.split_off(keep);
        fetched.reverse();
        Ok(fetched)
    }

    /// `C_FindObjectsFinal`.
    pub fn find_objects_final(&self, session: u64) -> Result<()> {
        let session = self.session(session)?;
        match session.cells.lock().find.take() {
            Some(_) => Ok(()),
            None => Err(refuse(Code::OperationNotInitialized, "this session runs no search")),
        }
    }

    /// An object that turns out to be gone (destroyed by another process) loses its handle.
    fn watch<T>(&self, session: &Session, id: ObjectId, answer: Result<T>) -> Result<T> {
        if answer.as_ref().err().map(Error::code) == Some(Code::ObjectHandleInvalid) {
            self.objects.forget(session.slot.id(), id);
        }
        answer
    }
}
