//! Keys: generation, wrapping, derivation (PKCS#11 3.1, 5.18).

use cryptoki_sys::{
    CK_ATTRIBUTE_PTR, CK_BYTE_PTR, CK_MECHANISM_PTR, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE_PTR, CK_RV, CK_SESSION_HANDLE, CK_ULONG,
    CK_ULONG_PTR,
};

use super::memory::{self, Asked, Given, Place};
use super::module::Dialect;
use super::{call, params, template};

/// Generates a secret key or domain parameters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GenerateKey(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    attributes: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
    key: CK_OBJECT_HANDLE_PTR,
) -> CK_RV {
    call("C_GenerateKey", |module| {
        // SAFETY: the caller's promise.
        let key = unsafe { Place::at(key, "phKey") }?;
        module.library.check_session(session)?;
        // SAFETY: the caller's promise.
        let mechanism = unsafe { params::mechanism(mechanism, module.dialect) }?;
        // SAFETY: the caller's promise.
        let template = unsafe { template::read(attributes, count, module.dialect) }?;
        key.put(module.library.generate_key(session, mechanism, template)?);
        Ok(())
    })
}

/// Generates a public key and its private key: both, or neither.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GenerateKeyPair(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    public_attributes: CK_ATTRIBUTE_PTR,
    public_count: CK_ULONG,
    private_attributes: CK_ATTRIBUTE_PTR,
    private_count: CK_ULONG,
    public_key: CK_OBJECT_HANDLE_PTR,
    private_key: CK_OBJECT_HANDLE_PTR,
) -> CK_RV {
    call("C_GenerateKeyPair", |module| {
        // SAFETY: the caller's promise.
        let places = unsafe { (Place::at(public_key, "phPublicKey")?, Place::at(private_key, "phPrivateKey")?) };
        module.library.check_session(session)?;
        // SAFETY: the caller's promise.
        let mechanism = unsafe { params::mechanism(mechanism, module.dialect) }?;
        // SAFETY: the caller's promise.
        let public = unsafe { template::read(public_attributes, public_count, module.dialect) }?;
        // SAFETY: the caller's promise.
        let private = unsafe { template::read(private_attributes, private_count, module.dialect) }?;
        let (public, private) = module.library.generate_key_pair(session, mechanism, public, private)?;
        places.0.put(public);
        places.1.put(private);
        Ok(())
    })
}

/// Encrypts a key with another.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_WrapKey(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    wrapping_key: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    wrapped: CK_BYTE_PTR,
    wrapped_len: CK_ULONG_PTR,
) -> CK_RV {
    call("C_WrapKey", |module| {
        // SAFETY: the caller's promise.
        let (output, reply) = unsafe { memory::output(Asked(wrapped, wrapped_len)) }?;
        module.library.check_session(session)?;
        // SAFETY: the caller's promise.
        let mechanism = unsafe { params::mechanism(mechanism, module.dialect) }?;
        reply.settle(module.library.wrap_key(session, mechanism, wrapping_key, key, output)?)
    })
}

/// Makes a key of a wrapped one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_UnwrapKey(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    unwrapping_key: CK_OBJECT_HANDLE,
    wrapped: CK_BYTE_PTR,
    wrapped_len: CK_ULONG,
    attributes: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
    key: CK_OBJECT_HANDLE_PTR,
) -> CK_RV {
    call("C_UnwrapKey", |module| {
        // SAFETY: the caller's promise.
        let key = unsafe { Place::at(key, "phKey") }?;
        // SAFETY: the caller's promise.
        let wrapped = unsafe { memory::bytes(Given(wrapped, wrapped_len), "pWrappedKey") }?;
        module.library.check_session(session)?;
        // SAFETY: the caller's promise. Parameters are judged as in `begin_opening`.
        let mechanism = unsafe { params::mechanism(mechanism, Dialect::Standard) }?;
        // SAFETY: the caller's promise.
        let template = unsafe { template::read(attributes, count, module.dialect) }?;
        key.put(module.library.unwrap_key(session, mechanism, unwrapping_key, wrapped, template)?);
        Ok(())
    })
}

/// Makes a key out of a base key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_DeriveKey(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    base_key: CK_OBJECT_HANDLE,
    attributes: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
    key: CK_OBJECT_HANDLE_PTR,
) -> CK_RV {
    call("C_DeriveKey", |module| {
        // SAFETY: the caller's promise.
        let key = unsafe { Place::at(key, "phKey") }?;
        module.library.check_session(session)?;
        // SAFETY: the caller's promise.
        let mechanism = unsafe { params::mechanism(mechanism, module.dialect) }?;
        // SAFETY: the caller's promise.
        let template = unsafe { template::read(attributes, count, module.dialect) }?;
        key.put(module.library.derive_key(session, mechanism, base_key, template)?);
        Ok(())
    })
}
