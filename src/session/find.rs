//! Searches.

use super::Library;
use super::sessions::Inside;
use crate::error::{Code, Error, Result, refuse};
use crate::object::Template;

impl Library {
    /// `C_FindObjectsInit`. The search is done at once: objects made later do not turn up in it.
    ///
    /// Errors: `OperationActive`; what the token says.
    pub fn find_objects_init(&self, session: u64, template: Template) -> Result<()> {
        let session = self.session(session)?;
        let Inside { cells, memo } = &mut *session.lock();
        if cells.find.is_some() {
            return Err(refuse(Code::OperationActive, "this session runs a search already: finish it first"));
        }
        cells.find = Some(session.token.find(memo.access(&session), &template)?.into_iter());
        Ok(())
    }

    /// `C_FindObjects`: the next objects that were found; none at the end. Errors: `OperationNotInitialized`.
    pub fn find_objects(&self, session: u64, at_most: usize) -> Result<Vec<u64>> {
        let session = self.session(session)?;
        let cells = &mut session.lock().cells;
        let found = cells.find.as_mut().ok_or_else(no_search)?;
        let handles = self.objects.found(session.slot.id(), found.take(at_most), &self.counter);
        Ok(handles.map(|handle| handle.number()).collect())
    }

    /// `C_FindObjectsFinal`. Errors: `OperationNotInitialized`.
    pub fn find_objects_final(&self, session: u64) -> Result<()> {
        let session = self.session(session)?;
        let ended = session.lock().cells.find.take();
        ended.map(drop).ok_or_else(no_search)
    }
}

fn no_search() -> Error {
    refuse(Code::OperationNotInitialized, "this session runs no search")
}
