//! Templates and mechanisms that own what they point to.

use cryptoki_sys::*;

/// An attribute list; each value is a vector of its own, so that pointers stay good while it lives.
#[derive(Clone, Default)]
pub struct Template {
    values: Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>,
}

impl Template {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds raw bytes.
    pub fn bytes(mut self, kind: CK_ATTRIBUTE_TYPE, value: impl Into<Vec<u8>>) -> Self {
        self.values.push((kind, value.into()));
        self
    }

    /// Adds a `CK_ULONG`.
    pub fn ulong(self, kind: CK_ATTRIBUTE_TYPE, value: CK_ULONG) -> Self {
        self.bytes(kind, value.to_ne_bytes())
    }

    /// Adds a `CK_BBOOL`.
    pub fn flag(self, kind: CK_ATTRIBUTE_TYPE, value: bool) -> Self {
        self.bytes(kind, [u8::from(value)])
    }

    /// Adds an attribute whose value is a template; it must outlive this one.
    pub fn template(self, kind: CK_ATTRIBUTE_TYPE, inner: &mut Template) -> Self {
        let list = inner.list();
        // SAFETY: CK_ATTRIBUTE is plain data, three machine words without padding; the bytes are read only.
        let bytes = unsafe { std::slice::from_raw_parts(list.as_ptr().cast::<u8>(), size_of_val(list.as_slice())) };
        self.bytes(kind, bytes)
    }

    /// Sets a value that may be there already.
    pub fn set(mut self, kind: CK_ATTRIBUTE_TYPE, value: impl Into<Vec<u8>>) -> Self {
        self.values.retain(|(known, _)| *known != kind);
        self.bytes(kind, value)
    }

    /// Takes an attribute out.
    pub fn without(mut self, kind: CK_ATTRIBUTE_TYPE) -> Self {
        self.values.retain(|(known, _)| *known != kind);
        self
    }

    /// The C form; good while `self` lives and is not changed.
    pub fn list(&mut self) -> Vec<CK_ATTRIBUTE> {
        self.values
            .iter_mut()
            .map(|(kind, value)| CK_ATTRIBUTE {
                type_: *kind,
                pValue: value.as_mut_ptr().cast(),
                ulValueLen: value.len() as CK_ULONG,
            })
            .collect()
    }

    /// A secret key of a type, a session object, for the given uses.
    pub fn secret_key(key_type: CK_KEY_TYPE, uses: &[CK_ATTRIBUTE_TYPE]) -> Self {
        let template = Self::new().ulong(CKA_CLASS, CKO_SECRET_KEY).ulong(CKA_KEY_TYPE, key_type).flag(CKA_TOKEN, false);
        uses.iter().fold(template, |template, kind| template.flag(*kind, true))
    }
}

/// A mechanism and its parameter, which owns whatever it points to.
#[derive(Clone)]
pub struct Mechanism {
    kind: CK_MECHANISM_TYPE,
    parameter: Vec<u8>,
    /// What pointers inside the parameter point to; never touched after the parameter was written.
    _pieces: Vec<std::rc::Rc<[u8]>>,
}

impl Mechanism {
    /// Without a parameter.
    pub fn new(kind: CK_MECHANISM_TYPE) -> Self {
        Self::with(kind, &[])
    }

    /// With a parameter of plain bytes (an IV).
    pub fn with(kind: CK_MECHANISM_TYPE, parameter: &[u8]) -> Self {
        Self { kind, parameter: parameter.to_vec(), _pieces: Vec::new() }
    }

    /// With a C structure that points into `pieces`.
    fn structure<T>(kind: CK_MECHANISM_TYPE, structure: &T, pieces: Vec<std::rc::Rc<[u8]>>) -> Self {
        // SAFETY: a C structure without padding bytes of its own, read as the bytes that it consists of.
        let bytes = unsafe { std::slice::from_raw_parts(std::ptr::from_ref(structure).cast::<u8>(), size_of::<T>()) };
        Self { kind, parameter: bytes.to_vec(), _pieces: pieces }
    }

    /// AES-GCM.
    pub fn gcm(iv: &[u8], aad: &[u8], tag_bits: CK_ULONG) -> Self {
        let (iv, aad) = (piece(iv), piece(aad));
        let parameter = CK_GCM_PARAMS {
            pIv: pointer(&iv),
            ulIvLen: iv.len() as CK_ULONG,
            ulIvBits: iv.len() as CK_ULONG * 8,
            pAAD: pointer(&aad),
            ulAADLen: aad.len() as CK_ULONG,
            ulTagBits: tag_bits,
        };
        Self::structure(CKM_AES_GCM, &parameter, vec![iv, aad])
    }

    /// AES-CTR with the whole block as counter bits that are told.
    pub fn ctr(bits: CK_ULONG, block: [u8; 16]) -> Self {
        Self::structure(CKM_AES_CTR, &CK_AES_CTR_PARAMS { ulCounterBits: bits, cb: block }, Vec::new())
    }

    /// RSA-OAEP with a label (may be empty).
    pub fn oaep(hash: CK_MECHANISM_TYPE, mgf: CK_RSA_PKCS_MGF_TYPE, label: &[u8]) -> Self {
        let label = piece(label);
        let parameter = CK_RSA_PKCS_OAEP_PARAMS {
            hashAlg: hash,
            mgf,
            source: CKZ_DATA_SPECIFIED,
            pSourceData: pointer(&label).cast(),
            ulSourceDataLen: label.len() as CK_ULONG,
        };
        Self::structure(CKM_RSA_PKCS_OAEP, &parameter, vec![label])
    }

    /// One of the RSA-PSS mechanisms.
    pub fn pss(kind: CK_MECHANISM_TYPE, hash: CK_MECHANISM_TYPE, mgf: CK_RSA_PKCS_MGF_TYPE, salt: CK_ULONG) -> Self {
        Self::structure(kind, &CK_RSA_PKCS_PSS_PARAMS { hashAlg: hash, mgf, sLen: salt }, Vec::new())
    }

    /// ECDH without a key derivation function.
    pub fn ecdh(kind: CK_MECHANISM_TYPE, public: &[u8]) -> Self {
        let public = piece(public);
        let parameter = CK_ECDH1_DERIVE_PARAMS {
            kdf: CKD_NULL,
            ulSharedDataLen: 0,
            pSharedData: std::ptr::null_mut(),
            ulPublicDataLen: public.len() as CK_ULONG,
            pPublicData: pointer(&public),
        };
        Self::structure(kind, &parameter, vec![public])
    }

    /// One of the `*_ECB_ENCRYPT_DATA` and `CONCATENATE_*_DATA` mechanisms.
    pub fn string_data(kind: CK_MECHANISM_TYPE, data: &[u8]) -> Self {
        let data = piece(data);
        let parameter = CK_KEY_DERIVATION_STRING_DATA { pData: pointer(&data), ulLen: data.len() as CK_ULONG };
        Self::structure(kind, &parameter, vec![data])
    }

    /// `CKM_AES_CBC_ENCRYPT_DATA`.
    pub fn aes_cbc_data(iv: [u8; 16], data: &[u8]) -> Self {
        let data = piece(data);
        let parameter = CK_AES_CBC_ENCRYPT_DATA_PARAMS { iv, pData: pointer(&data), length: data.len() as CK_ULONG };
        Self::structure(CKM_AES_CBC_ENCRYPT_DATA, &parameter, vec![data])
    }

    /// `CKM_DES_CBC_ENCRYPT_DATA` and its three-key form.
    pub fn des_cbc_data(kind: CK_MECHANISM_TYPE, iv: [u8; 8], data: &[u8]) -> Self {
        let data = piece(data);
        let parameter = CK_DES_CBC_ENCRYPT_DATA_PARAMS { iv, pData: pointer(&data), length: data.len() as CK_ULONG };
        Self::structure(kind, &parameter, vec![data])
    }

    /// AES-CCM for data of a length that is told before.
    pub fn ccm(data_len: usize, nonce: &[u8], aad: &[u8], mac_len: CK_ULONG) -> Self {
        let (nonce, aad) = (piece(nonce), piece(aad));
        let parameter = CK_CCM_PARAMS {
            ulDataLen: data_len as CK_ULONG,
            pNonce: pointer(&nonce),
            ulNonceLen: nonce.len() as CK_ULONG,
            pAAD: pointer(&aad),
            ulAADLen: aad.len() as CK_ULONG,
            ulMACLen: mac_len,
        };
        Self::structure(CKM_AES_CCM, &parameter, vec![nonce, aad])
    }

    /// HKDF with SHA-256, both its steps, and no salt.
    pub fn hkdf(kind: CK_MECHANISM_TYPE, info: &[u8]) -> Self {
        let info = piece(info);
        // CK_HKDF_PARAMS, written word by word: the two flags at its head are followed by padding.
        let mut parameter = vec![0; size_of::<CK_ULONG>()];
        parameter[..2].fill(CK_TRUE);
        let (place, len) = (pointer(&info).expose_provenance() as CK_ULONG, info.len() as CK_ULONG);
        for word in [CKM_SHA256, CKF_HKDF_SALT_NULL, 0, 0, 0, place, len] {
            parameter.extend(word.to_ne_bytes());
        }
        Self { kind, parameter, _pieces: vec![info] }
    }

    /// ChaCha20-Poly1305, whose nonce's length is told in `unit`s for each byte: 8 for bits, as the standard has it.
    pub fn chacha_poly(nonce: &[u8], aad: &[u8], unit: CK_ULONG) -> Self {
        let (nonce, aad) = (piece(nonce), piece(aad));
        let parameter = CK_SALSA20_CHACHA20_POLY1305_PARAMS {
            pNonce: pointer(&nonce),
            ulNonceLen: nonce.len() as CK_ULONG * unit,
            pAAD: pointer(&aad),
            ulAADLen: aad.len() as CK_ULONG,
        };
        Self::structure(CKM_CHACHA20_POLY1305, &parameter, vec![nonce, aad])
    }

    /// ML-DSA or SLH-DSA with a context string, and whether a signature may, must or must not be random.
    pub fn context(kind: CK_MECHANISM_TYPE, hedge: CK_HEDGE_TYPE, context: &[u8]) -> Self {
        let context = piece(context);
        let parameter = CK_SIGN_ADDITIONAL_CONTEXT {
            hedgeVariant: hedge,
            pContext: pointer(&context),
            ulContextLen: context.len() as CK_ULONG,
        };
        Self::structure(kind, &parameter, vec![context])
    }

    /// ML-DSA or SLH-DSA of a hash that was made already.
    pub fn hash_context(kind: CK_MECHANISM_TYPE, hash: CK_MECHANISM_TYPE, context: &[u8]) -> Self {
        let context = piece(context);
        let parameter = CK_HASH_SIGN_ADDITIONAL_CONTEXT {
            hedgeVariant: CKH_HEDGE_PREFERRED,
            pContext: pointer(&context),
            ulContextLen: context.len() as CK_ULONG,
            hash,
        };
        Self::structure(kind, &parameter, vec![context])
    }

    /// EdDSA with `CK_EDDSA_PARAMS`: the pre-hashed form or not, and a context.
    pub fn eddsa(prehash: bool, context: &[u8]) -> Self {
        let context = piece(context);
        // Written word by word: the flag at its head is followed by padding.
        let mut parameter = vec![0; size_of::<CK_ULONG>()];
        parameter[0] = u8::from(prehash);
        let place = pointer(&context).expose_provenance() as CK_ULONG;
        for word in [context.len() as CK_ULONG, place] {
            parameter.extend(word.to_ne_bytes());
        }
        Self { kind: CKM_EDDSA, parameter, _pieces: vec![context] }
    }

    /// With a parameter that is one number (a length, a handle).
    pub fn number(kind: CK_MECHANISM_TYPE, value: CK_ULONG) -> Self {
        Self::with(kind, &value.to_ne_bytes())
    }

    /// `CKM_RSA_AES_KEY_WRAP` with a temporary AES key of so many bits.
    pub fn rsa_aes_wrap(bits: CK_ULONG, oaep: &Mechanism) -> Self {
        let inner = piece(&oaep.parameter);
        let parameter = CK_RSA_AES_KEY_WRAP_PARAMS { ulAESKeyBits: bits, pOAEPParams: pointer(&inner).cast() };
        let mut pieces = oaep._pieces.clone();
        pieces.push(inner);
        Self::structure(CKM_RSA_AES_KEY_WRAP, &parameter, pieces)
    }

    /// The mechanism's number.
    pub fn kind(&self) -> CK_MECHANISM_TYPE {
        self.kind
    }

    /// The parameter's bytes.
    pub fn parameter(&self) -> &[u8] {
        &self.parameter
    }

    /// The same mechanism with the first `len` bytes of its parameter, zeroes after its end.
    pub fn resized(&self, len: usize) -> Self {
        let mut other = self.clone();
        other.parameter.resize(len, 0);
        other
    }

    /// The C form; good while `self` lives.
    pub fn raw(&mut self) -> CK_MECHANISM {
        let parameter = if self.parameter.is_empty() { std::ptr::null_mut() } else { self.parameter.as_mut_ptr().cast() };
        CK_MECHANISM { mechanism: self.kind, pParameter: parameter, ulParameterLen: self.parameter.len() as CK_ULONG }
    }
}

fn piece(bytes: &[u8]) -> std::rc::Rc<[u8]> {
    bytes.into()
}

/// Where a piece lies; NULL for an empty one, as applications pass it. Modules only read through it.
fn pointer(piece: &std::rc::Rc<[u8]>) -> CK_BYTE_PTR {
    if piece.is_empty() { std::ptr::null_mut() } else { piece.as_ptr().cast_mut() }
}
