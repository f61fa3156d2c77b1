//! Key encapsulation by the form of ML-KEM: lengths, seeds and rejections as FIPS 203 has them, and a hash for tables instead of lattices.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use cryptoki_sys::*;

use crate::beneath::{ask, bytes, give, number, random, session};
use crate::fault::on;
use crate::state::{FIRST, Object, state};
use crate::{Done, code};

/// Parameter set, bytes of a public key, of a private key, of a ciphertext.
const SETS: [(CK_ULONG, usize, usize, usize); 3] =
    [(CKP_ML_KEM_512, 800, 1632, 768), (CKP_ML_KEM_768, 1184, 2400, 1088), (CKP_ML_KEM_1024, 1568, 3168, 1568)];

/// Attributes that a template may have: a count beyond it is not believed.
const ATTRIBUTES_MAX: CK_ULONG = 1 << 10;

/// So many bytes that depend on all of the given ones.
fn expand(parts: &[&[u8]], len: usize) -> Vec<u8> {
    let block = |counter: usize| {
        let mut hasher = DefaultHasher::new();
        hasher.write_usize(counter);
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish().to_ne_bytes()
    };
    (0..len.div_ceil(8)).flat_map(block).take(len).collect()
}

/// A caller's template.
pub fn template(list: CK_ATTRIBUTE_PTR, count: CK_ULONG) -> Done<Object> {
    let mut object = Object::new();
    if count == 0 {
        return Ok(object);
    }
    if list.is_null() || count > ATTRIBUTES_MAX {
        return Err(CKR_ARGUMENTS_BAD);
    }
    // SAFETY: the caller promises so many attributes.
    for one in unsafe { std::slice::from_raw_parts(list, count as usize) } {
        if object.insert(one.type_, bytes(one.pValue.cast(), one.ulValueLen)?).is_some() {
            return Err(CKR_TEMPLATE_INCONSISTENT);
        }
    }
    Ok(object)
}

fn flag(object: &Object, kind: CK_ATTRIBUTE_TYPE) -> bool {
    object.get(&kind).is_some_and(|value| value == &[CK_TRUE])
}

fn set_of(object: &Object) -> Done<(CK_ULONG, usize, usize, usize)> {
    let asked = object.get(&CKA_PARAMETER_SET).ok_or(CKR_TEMPLATE_INCOMPLETE)?;
    let asked = number(asked).ok_or(CKR_ATTRIBUTE_VALUE_INVALID)?;
    match SETS.iter().find(|set| set.0 == asked) {
        Some(set) => Ok(*set),
        None if on("kem-any-set") => Ok(SETS[0]),
        None => Err(CKR_PARAMETER_SET_NOT_SUPPORTED),
    }
}

fn public_of(seed: &[u8], set: (CK_ULONG, usize, usize, usize)) -> Vec<u8> {
    expand(&[b"public", seed], set.1)
}

/// A private key's value: a part of its own, the public key, the seed.
fn private_of(seed: &[u8], set: (CK_ULONG, usize, usize, usize)) -> Vec<u8> {
    [expand(&[b"private", seed], set.2 - set.1 - 64), public_of(seed, set), seed.to_vec()].concat()
}

pub unsafe extern "C" fn C_GenerateKeyPair(
    at: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    public: CK_ATTRIBUTE_PTR,
    public_count: CK_ULONG,
    private: CK_ATTRIBUTE_PTR,
    private_count: CK_ULONG,
    public_key: CK_OBJECT_HANDLE_PTR,
    private_key: CK_OBJECT_HANDLE_PTR,
) -> CK_RV {
    // SAFETY: the caller promises a mechanism or NULL.
    if unsafe { mechanism.as_ref() }.is_none_or(|known| known.mechanism != CKM_ML_KEM_KEY_PAIR_GEN) {
        let asked = ask!(C_GenerateKeyPair, at, mechanism, public, public_count, private, private_count, public_key, private_key);
        return code(asked);
    }
    code((|| {
        session(at)?;
        let (mut public, mut private) = (template(public, public_count)?, template(private, private_count)?);
        let set = set_of(&public)?;
        // An object of the kind beneath would have refused it as well.
        let seed = random(at, 64)?;
        for (object, class, value) in
            [(&mut public, CKO_PUBLIC_KEY, public_of(&seed, set)), (&mut private, CKO_PRIVATE_KEY, private_of(&seed, set))]
        {
            object.insert(CKA_CLASS, class.to_ne_bytes().to_vec());
            object.insert(CKA_KEY_TYPE, CKK_ML_KEM.to_ne_bytes().to_vec());
            object.insert(CKA_PARAMETER_SET, set.0.to_ne_bytes().to_vec());
            object.insert(CKA_LOCAL, vec![u8::from(!on("kem-pair-not-local"))]);
            object.insert(CKA_KEY_GEN_MECHANISM, CKM_ML_KEM_KEY_PAIR_GEN.to_ne_bytes().to_vec());
            object.insert(CKA_VALUE, value);
        }
        private.insert(CKA_SEED, seed);
        private.entry(CKA_SENSITIVE).or_insert_with(|| vec![CK_TRUE]);
        let mut state = state();
        let made = (state.keep(public), state.keep(private));
        // SAFETY: the caller promises two places.
        unsafe { (*public_key, *private_key) = made };
        Ok(())
    })())
}

pub unsafe extern "C" fn C_CreateObject(
    at: CK_SESSION_HANDLE,
    list: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
    made: CK_OBJECT_HANDLE_PTR,
) -> CK_RV {
    let own =
        template(list, count).is_ok_and(|object| object.get(&CKA_KEY_TYPE).is_some_and(|kind| kind == &CKK_ML_KEM.to_ne_bytes()));
    if !own {
        return code(ask!(C_CreateObject, at, list, count, made));
    }
    code((|| {
        session(at)?;
        let mut object = template(list, count)?;
        let set = set_of(&object)?;
        if let (false, Some(seed)) = (object.contains_key(&CKA_VALUE), object.get(&CKA_SEED)) {
            object.insert(CKA_VALUE, private_of(seed, set));
        }
        let public = object.get(&CKA_CLASS).is_some_and(|class| class == &CKO_PUBLIC_KEY.to_ne_bytes());
        let len = object.get(&CKA_VALUE).ok_or(CKR_TEMPLATE_INCOMPLETE)?.len();
        if len != if public { set.1 } else { set.2 } && !on("kem-any-length") {
            return Err(CKR_ATTRIBUTE_VALUE_INVALID);
        }
        object.insert(CKA_LOCAL, vec![CK_FALSE]);
        let handle = state().keep(object);
        // SAFETY: the caller promises a place.
        unsafe { *made = handle };
        Ok(())
    })())
}

pub unsafe extern "C" fn C_GetAttributeValue(
    at: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    list: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
) -> CK_RV {
    if object < FIRST {
        return code(ask!(C_GetAttributeValue, at, object, list, count));
    }
    let state = state();
    let Some(known) = state.objects.get(&object) else { return CKR_OBJECT_HANDLE_INVALID };
    let mut done = CKR_OK;
    // SAFETY: the caller promises so many attributes.
    for one in unsafe { std::slice::from_raw_parts_mut(list, count as usize) } {
        let secret = [CKA_VALUE, CKA_SEED].contains(&one.type_) && flag(known, CKA_SENSITIVE) && !on("kem-shows-seed");
        let Some(value) = known.get(&one.type_).filter(|_| !secret) else {
            (one.ulValueLen, done) =
                (CK_UNAVAILABLE_INFORMATION, if secret { CKR_ATTRIBUTE_SENSITIVE } else { CKR_ATTRIBUTE_TYPE_INVALID });
            continue;
        };
        if !one.pValue.is_null() {
            // SAFETY: the caller promises as many bytes as it was told a moment ago.
            unsafe { one.pValue.cast::<u8>().copy_from_nonoverlapping(value.as_ptr(), value.len()) };
        }
        one.ulValueLen = value.len() as CK_ULONG;
    }
    done
}

/// A key of the right class and use.
fn key(handle: CK_OBJECT_HANDLE, class: CK_ULONG, usage: CK_ATTRIBUTE_TYPE) -> Done<Object> {
    let state = state();
    let any = || state.objects.values().find(|object| object.contains_key(&CKA_SEED)).cloned();
    let Some(found) = state.objects.get(&handle) else {
        return any().filter(|_| on("kem-any-key")).ok_or(CKR_KEY_HANDLE_INVALID);
    };
    if found.get(&CKA_CLASS) != Some(&class.to_ne_bytes().to_vec()) && !on("kem-any-key") {
        return Err(CKR_KEY_TYPE_INCONSISTENT);
    }
    if !flag(found, usage) && !on("kem-any-use") && !on("kem-any-key") {
        return Err(CKR_KEY_FUNCTION_NOT_PERMITTED);
    }
    Ok(found.clone())
}

/// The new key: an object of the module beneath, made of the secret.
fn secret(at: CK_SESSION_HANDLE, mut object: Object, mut value: Vec<u8>) -> Done<CK_OBJECT_HANDLE> {
    if object.contains_key(&CKA_VALUE) && !on("kem-takes-value") {
        return Err(CKR_TEMPLATE_INCONSISTENT);
    }
    if let Some(len) = object.remove(&CKA_VALUE_LEN) {
        let len = number(&len).ok_or(CKR_ATTRIBUTE_VALUE_INVALID)?;
        if len > 32 {
            return Err(CKR_TEMPLATE_INCONSISTENT);
        }
        if !on("kem-ignores-length") {
            value.truncate(len as usize);
        }
    }
    object.insert(CKA_VALUE, value);
    object.entry(CKA_EXTRACTABLE).or_insert_with(|| vec![u8::from(!on("kem-not-extractable"))]);
    let list: Vec<CK_ATTRIBUTE> = object
        .iter_mut()
        .map(|(kind, value)| CK_ATTRIBUTE {
            type_: *kind,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: value.len() as CK_ULONG,
        })
        .collect();
    let mut made = 0;
    ask!(C_CreateObject, at, list.as_ptr().cast_mut(), list.len() as CK_ULONG, &mut made)?;
    Ok(made)
}

fn by_ml_kem(mechanism: CK_MECHANISM_PTR) -> Done<()> {
    // SAFETY: the caller promises a mechanism or NULL.
    match unsafe { mechanism.as_ref() } {
        None => Err(CKR_ARGUMENTS_BAD),
        Some(known) if known.mechanism == CKM_ML_KEM => Ok(()),
        Some(_) => Err(CKR_MECHANISM_INVALID),
    }
}

pub unsafe extern "C" fn C_EncapsulateKey(
    at: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    public: CK_OBJECT_HANDLE,
    list: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
    ciphertext: CK_BYTE_PTR,
    len: CK_ULONG_PTR,
    made: CK_OBJECT_HANDLE_PTR,
) -> CK_RV {
    code((|| {
        session(at)?;
        by_ml_kem(mechanism)?;
        let key = key(public, CKO_PUBLIC_KEY, CKA_ENCAPSULATE)?;
        let set = set_of(&key)?;
        let value = key.get(&CKA_VALUE).cloned().unwrap_or_default();
        // The public part of a private key, for the fault that takes one.
        let public = if value.len() == set.2 { value[set.2 - set.1 - 64..set.2 - 64].to_vec() } else { value };
        let coins = if on("kem-same-secret") { vec![1; 32] } else { random(at, 32)? };
        let body = expand(&[b"ciphertext", &coins, &public], set.3 - 8);
        let sealed = [body.clone(), expand(&[b"tail", &body, &public], 8)].concat();
        let template = template(list, count)?;
        let shared = expand(&[b"shared", &sealed, &public], 32);
        if on("kem-buffer-makes-key") {
            secret(at, template.clone(), shared.clone())?;
        }
        if give(&sealed, ciphertext, len)? {
            // The caller learns nothing where the template is refused: the secret is made of the ciphertext.
            let handle = secret(at, template, shared)?;
            // SAFETY: the caller promises a place or NULL.
            *unsafe { made.as_mut() }.ok_or(CKR_ARGUMENTS_BAD)? = handle;
        }
        Ok(())
    })())
}

/// What the private key's own template demands of decapsulated keys.
fn demanded(key: &Object, mut object: Object) -> Done<Object> {
    let Some(list) = key.get(&CKA_DECAPSULATE_TEMPLATE).filter(|_| !on("kem-ignores-template")) else { return Ok(object) };
    let count = list.len() / size_of::<CK_ATTRIBUTE>();
    let mut list = list.clone();
    for (kind, value) in template(list.as_mut_ptr().cast(), count as CK_ULONG)? {
        if object.insert(kind, value.clone()).is_some_and(|given| given != value) {
            return Err(CKR_TEMPLATE_INCONSISTENT);
        }
    }
    Ok(object)
}

pub unsafe extern "C" fn C_DecapsulateKey(
    at: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    private: CK_OBJECT_HANDLE,
    list: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
    ciphertext: CK_BYTE_PTR,
    len: CK_ULONG,
    made: CK_OBJECT_HANDLE_PTR,
) -> CK_RV {
    code((|| {
        session(at)?;
        by_ml_kem(mechanism)?;
        let key = key(private, CKO_PRIVATE_KEY, CKA_DECAPSULATE)?;
        let (set, sealed) = (set_of(&key)?, bytes(ciphertext, len)?);
        if sealed.len() != set.3 && !on("kem-any-length") {
            return Err(CKR_WRAPPED_KEY_LEN_RANGE);
        }
        let value = key.get(&CKA_VALUE).cloned().unwrap_or_default();
        let public = if value.len() == set.2 { value[set.2 - set.1 - 64..set.2 - 64].to_vec() } else { value };
        let (body, tail) = sealed.split_at(sealed.len().saturating_sub(8));
        let mut shared = expand(&[b"shared", &sealed, &public], 32);
        if expand(&[b"tail", body, &public], 8) != tail {
            if on("kem-tells-rejection") {
                return Err(CKR_WRAPPED_KEY_INVALID);
            }
            if on("kem-rejects-at-random") {
                shared = random(at, 32)?;
            }
        }
        if on("kem-any-private-key") {
            // As if the ciphertext alone were the secret.
            let owner = state().objects.values().filter(|object| !object.contains_key(&CKA_SEED)).find_map(|object| {
                let public = object.get(&CKA_VALUE)?;
                (expand(&[b"tail", body, public], 8) == tail).then(|| public.clone())
            });
            shared = expand(&[b"shared", &sealed, &owner.unwrap_or(public)], 32);
        }
        if on("kem-sides-differ") {
            shared[0] ^= 1;
        }
        let handle = secret(at, demanded(&key, template(list, count)?)?, shared)?;
        // SAFETY: the caller promises a place or NULL.
        *unsafe { made.as_mut() }.ok_or(CKR_ARGUMENTS_BAD)? = handle;
        Ok(())
    })())
}
