//! Objects (PKCS#11 3.1, 5.7).

use cryptoki_sys::{CK_ATTRIBUTE_PTR, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE_PTR, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR};

use super::memory::{self, Place};
use super::module::Dialect;
use super::{call, template};
use crate::ck::UNAVAILABLE_INFORMATION;
use crate::error::{Code, refuse};

/// Creates an object of the attributes that the caller gives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_CreateObject(
    session: CK_SESSION_HANDLE,
    attributes: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
    object: CK_OBJECT_HANDLE_PTR,
) -> CK_RV {
    call("C_CreateObject", |module| {
        // SAFETY: the caller's promise.
        let object = unsafe { Place::at(object, "phObject") }?;
        module.library.check_session(session)?;
        // SAFETY: the caller's promise.
        let template = unsafe { template::read(attributes, count, module.dialect) }?;
        object.put(module.library.create_object(session, template)?);
        Ok(())
    })
}

/// Makes a second object like the first, but for the attributes that the caller gives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_CopyObject(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
    copy: CK_OBJECT_HANDLE_PTR,
) -> CK_RV {
    call("C_CopyObject", |module| {
        // SAFETY: the caller's promise.
        let copy = unsafe { Place::at(copy, "phNewObject") }?;
        module.library.check_session(session)?;
        // SAFETY: the caller's promise.
        let changes = unsafe { template::read(attributes, count, module.dialect) }?;
        copy.put(module.library.copy_object(session, object, changes)?);
        Ok(())
    })
}

/// Destroys an object.
#[unsafe(no_mangle)]
pub extern "C" fn C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> CK_RV {
    call("C_DestroyObject", |module| module.library.destroy_object(session, object))
}

/// Tells how many bytes an object takes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetObjectSize(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, size: CK_ULONG_PTR) -> CK_RV {
    call("C_GetObjectSize", |module| {
        // SAFETY: the caller's promise.
        let size = unsafe { Place::at(size, "pulSize") }?;
        let bytes = module.library.object_size(session, object)?;
        // SoftHSM tells no size, and its own tests hold it to that.
        size.put(if module.dialect == Dialect::SoftHsm { UNAVAILABLE_INFORMATION } else { bytes });
        Ok(())
    })
}

/// Reads attributes, or their lengths; each entry gets its own answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
) -> CK_RV {
    call("C_GetAttributeValue", |module| {
        // SAFETY: the caller's promise.
        let entries = unsafe { template::entries(attributes, count) }?;
        let readings = module.library.read_attributes(session, object, &template::types(&entries))?;
        // SAFETY: the caller's promise.
        unsafe { template::answer(&readings, &entries, attributes) }
    })
}

/// Changes attributes: all, or none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_SetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
) -> CK_RV {
    call("C_SetAttributeValue", |module| {
        module.library.check_session(session)?;
        // SAFETY: the caller's promise.
        let changes = unsafe { template::read(attributes, count, module.dialect) }?;
        module.library.set_attributes(session, object, changes)
    })
}

/// Starts a search for objects with the given attributes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_FindObjectsInit(session: CK_SESSION_HANDLE, attributes: CK_ATTRIBUTE_PTR, count: CK_ULONG) -> CK_RV {
    call("C_FindObjectsInit", |module| {
        module.library.check_session(session)?;
        // SAFETY: the caller's promise.
        let template = unsafe { template::read_search(attributes, count) }?;
        module.library.find_objects_init(session, template)
    })
}

/// Gives the next objects that a search found.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_FindObjects(
    session: CK_SESSION_HANDLE,
    objects: CK_OBJECT_HANDLE_PTR,
    objects_max: CK_ULONG,
    count: CK_ULONG_PTR,
) -> CK_RV {
    call("C_FindObjects", |module| {
        // SAFETY: the caller's promise.
        let count = unsafe { Place::at(count, "pulObjectCount") }?;
        if objects.is_null() && objects_max > 0 {
            return Err(refuse(Code::ArgumentsBad, "phObject is NULL"));
        }
        let found = module.library.find_objects(session, usize::try_from(objects_max).unwrap_or(usize::MAX))?;
        assert!(found.len() as CK_ULONG <= objects_max, "the search gave more objects than asked for");
        // SAFETY: not NULL when there is anything to write, and good for `objects_max` by the caller's promise.
        unsafe { memory::put_array(&found, objects) };
        count.put(found.len() as CK_ULONG);
        Ok(())
    })
}

/// Ends a search.
#[unsafe(no_mangle)]
pub extern "C" fn C_FindObjectsFinal(session: CK_SESSION_HANDLE) -> CK_RV {
    call("C_FindObjectsFinal", |module| module.library.find_objects_final(session))
}
