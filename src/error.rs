//! What can go wrong, as a value: a code for programs, a sentence and a cause for people.
//!
//! Knows: ck.

use std::error::Error as StdError;
use std::fmt;

use crate::ck::Rv;

/// `Result` of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! codes {
    ($($Code:ident = $RV:ident),* $(,)?) => {
        /// Why a call failed, for control flow and for the C caller: one variant for each `CKR_*`.
        ///
        /// `General` is a confession of a bug: only `ffi::enter` may produce it, when it catches a panic.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each is the CKR_* of its name")]
        pub enum Code {
            $($Code,)*
            /// A configuration file is wrong or cannot be read (vendor code [`CONFIGURATION`]).
            Configuration,
            /// The store on disk is damaged, truncated or not ours (vendor code [`STORE_REFUSED`]).
            StoreRefused,
            /// More than one of our bounds allows, at whichever partition: `CKR_DEVICE_MEMORY` to the C caller, and yet no trouble of a disk.
            PastLimit,
        }

        impl Code {
            /// The code behind a number, if it is one of ours: answers of other partitions arrive as numbers.
            pub fn of_rv(rv: Rv) -> Option<Self> {
                match rv {
                    $(Rv::$RV => Some(Code::$Code),)*
                    CONFIGURATION => Some(Code::Configuration),
                    STORE_REFUSED => Some(Code::StoreRefused),
                    _ => None,
                }
            }

            /// The number that the C caller sees.
            pub fn rv(self) -> Rv {
                match self {
                    $(Code::$Code => Rv::$RV,)*
                    Code::Configuration => CONFIGURATION,
                    Code::StoreRefused => STORE_REFUSED,
                    Code::PastLimit => Rv::DEVICE_MEMORY,
                }
            }
        }
    };
}

/// The name that the C caller's header has for it.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Code::Configuration => f.write_str("CKR_HSMPOOL_CONFIGURATION"),
            Code::StoreRefused => f.write_str("CKR_HSMPOOL_STORE_REFUSED"),
            code => write!(f, "{}", code.rv()),
        }
    }
}

/// How loudly a failure is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Somebody must act: the store, the machine or we ourselves are at fault.
    Error,
    /// Somebody may be attacking or about to be locked out.
    Warning,
    /// Worth a line in an ordinary log.
    Info,
    /// The application asked for something that it cannot have, as applications do.
    Debug,
}

/// Where sentences for people go: syslog, a file, standard error. It decides itself what is loud enough to be formatted.
pub type Sink = Box<dyn Fn(Level, &dyn fmt::Display) + Send + Sync>;

impl Code {
    /// How loudly a failed call with this code is told.
    pub fn level(self) -> Level {
        match self {
            Code::General
            | Code::HostMemory
            | Code::FunctionFailed
            | Code::DeviceError
            | Code::DeviceMemory
            | Code::DeviceRemoved
            | Code::RandomNoRng
            | Code::FipsSelfTestFailed
            | Code::LibraryLoadFailed
            | Code::Configuration
            | Code::StoreRefused => Level::Error,
            Code::PinIncorrect | Code::PinLocked | Code::TokenResourceExceeded | Code::KeyExhausted => Level::Warning,
            _ => Level::Debug,
        }
    }
}

/// `CKR_VENDOR_DEFINED | 'HP' << 16 | 1`: the configuration is wrong; the log names file, line and key.
pub const CONFIGURATION: Rv = Rv(0x8000_0000 | 0x4850_0001);
/// `CKR_VENDOR_DEFINED | 'HP' << 16 | 2`: the store is refused; the log names the file and what to do.
pub const STORE_REFUSED: Rv = Rv(0x8000_0000 | 0x4850_0002);

codes! {
    HostMemory = HOST_MEMORY,
    SlotIdInvalid = SLOT_ID_INVALID,
    General = GENERAL_ERROR,
    FunctionFailed = FUNCTION_FAILED,
    ArgumentsBad = ARGUMENTS_BAD,
    NoEvent = NO_EVENT,
    NeedToCreateThreads = NEED_TO_CREATE_THREADS,
    CantLock = CANT_LOCK,
    AttributeReadOnly = ATTRIBUTE_READ_ONLY,
    AttributeSensitive = ATTRIBUTE_SENSITIVE,
    AttributeTypeInvalid = ATTRIBUTE_TYPE_INVALID,
    AttributeValueInvalid = ATTRIBUTE_VALUE_INVALID,
    ActionProhibited = ACTION_PROHIBITED,
    DataInvalid = DATA_INVALID,
    DataLenRange = DATA_LEN_RANGE,
    DeviceError = DEVICE_ERROR,
    DeviceMemory = DEVICE_MEMORY,
    DeviceRemoved = DEVICE_REMOVED,
    EncryptedDataInvalid = ENCRYPTED_DATA_INVALID,
    EncryptedDataLenRange = ENCRYPTED_DATA_LEN_RANGE,
    AeadDecryptFailed = AEAD_DECRYPT_FAILED,
    FunctionCanceled = FUNCTION_CANCELED,
    FunctionNotParallel = FUNCTION_NOT_PARALLEL,
    FunctionNotSupported = FUNCTION_NOT_SUPPORTED,
    KeyHandleInvalid = KEY_HANDLE_INVALID,
    KeySizeRange = KEY_SIZE_RANGE,
    KeyTypeInconsistent = KEY_TYPE_INCONSISTENT,
    KeyNotNeeded = KEY_NOT_NEEDED,
    KeyChanged = KEY_CHANGED,
    KeyNeeded = KEY_NEEDED,
    KeyIndigestible = KEY_INDIGESTIBLE,
    KeyFunctionNotPermitted = KEY_FUNCTION_NOT_PERMITTED,
    KeyNotWrappable = KEY_NOT_WRAPPABLE,
    KeyUnextractable = KEY_UNEXTRACTABLE,
    MechanismInvalid = MECHANISM_INVALID,
    MechanismParamInvalid = MECHANISM_PARAM_INVALID,
    ObjectHandleInvalid = OBJECT_HANDLE_INVALID,
    OperationActive = OPERATION_ACTIVE,
    OperationNotInitialized = OPERATION_NOT_INITIALIZED,
    PinIncorrect = PIN_INCORRECT,
    PinInvalid = PIN_INVALID,
    PinLenRange = PIN_LEN_RANGE,
    PinExpired = PIN_EXPIRED,
    PinLocked = PIN_LOCKED,
    SessionClosed = SESSION_CLOSED,
    SessionCount = SESSION_COUNT,
    SessionHandleInvalid = SESSION_HANDLE_INVALID,
    SessionParallelNotSupported = SESSION_PARALLEL_NOT_SUPPORTED,
    SessionReadOnly = SESSION_READ_ONLY,
    SessionExists = SESSION_EXISTS,
    SessionReadOnlyExists = SESSION_READ_ONLY_EXISTS,
    SessionReadWriteSoExists = SESSION_READ_WRITE_SO_EXISTS,
    SignatureInvalid = SIGNATURE_INVALID,
    SignatureLenRange = SIGNATURE_LEN_RANGE,
    TemplateIncomplete = TEMPLATE_INCOMPLETE,
    TemplateInconsistent = TEMPLATE_INCONSISTENT,
    TokenNotPresent = TOKEN_NOT_PRESENT,
    TokenNotRecognized = TOKEN_NOT_RECOGNIZED,
    TokenWriteProtected = TOKEN_WRITE_PROTECTED,
    UnwrappingKeyHandleInvalid = UNWRAPPING_KEY_HANDLE_INVALID,
    UnwrappingKeySizeRange = UNWRAPPING_KEY_SIZE_RANGE,
    UnwrappingKeyTypeInconsistent = UNWRAPPING_KEY_TYPE_INCONSISTENT,
    UserAlreadyLoggedIn = USER_ALREADY_LOGGED_IN,
    UserNotLoggedIn = USER_NOT_LOGGED_IN,
    UserPinNotInitialized = USER_PIN_NOT_INITIALIZED,
    UserTypeInvalid = USER_TYPE_INVALID,
    UserAnotherAlreadyLoggedIn = USER_ANOTHER_ALREADY_LOGGED_IN,
    UserTooManyTypes = USER_TOO_MANY_TYPES,
    WrappedKeyInvalid = WRAPPED_KEY_INVALID,
    WrappedKeyLenRange = WRAPPED_KEY_LEN_RANGE,
    WrappingKeyHandleInvalid = WRAPPING_KEY_HANDLE_INVALID,
    WrappingKeySizeRange = WRAPPING_KEY_SIZE_RANGE,
    WrappingKeyTypeInconsistent = WRAPPING_KEY_TYPE_INCONSISTENT,
    RandomSeedNotSupported = RANDOM_SEED_NOT_SUPPORTED,
    RandomNoRng = RANDOM_NO_RNG,
    DomainParamsInvalid = DOMAIN_PARAMS_INVALID,
    CurveNotSupported = CURVE_NOT_SUPPORTED,
    BufferTooSmall = BUFFER_TOO_SMALL,
    SavedStateInvalid = SAVED_STATE_INVALID,
    InformationSensitive = INFORMATION_SENSITIVE,
    StateUnsaveable = STATE_UNSAVEABLE,
    CryptokiNotInitialized = CRYPTOKI_NOT_INITIALIZED,
    CryptokiAlreadyInitialized = CRYPTOKI_ALREADY_INITIALIZED,
    MutexBad = MUTEX_BAD,
    MutexNotLocked = MUTEX_NOT_LOCKED,
    NewPinMode = NEW_PIN_MODE,
    NextOtp = NEXT_OTP,
    ExceededMaxIterations = EXCEEDED_MAX_ITERATIONS,
    FipsSelfTestFailed = FIPS_SELF_TEST_FAILED,
    LibraryLoadFailed = LIBRARY_LOAD_FAILED,
    PinTooWeak = PIN_TOO_WEAK,
    PublicKeyInvalid = PUBLIC_KEY_INVALID,
    FunctionRejected = FUNCTION_REJECTED,
    TokenResourceExceeded = TOKEN_RESOURCE_EXCEEDED,
    OperationCancelFailed = OPERATION_CANCEL_FAILED,
    KeyExhausted = KEY_EXHAUSTED,
    Pending = PENDING,
    SessionAsyncNotSupported = SESSION_ASYNC_NOT_SUPPORTED,
    SeedRandomRequired = SEED_RANDOM_REQUIRED,
    OperationNotValidated = OPERATION_NOT_VALIDATED,
    TokenNotInitialized = TOKEN_NOT_INITIALIZED,
    ParameterSetNotSupported = PARAMETER_SET_NOT_SUPPORTED,
}

/// A failure: its code, what was being done, and why.
pub struct Error {
    code: Code,
    doing: String,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// `doing` is a sentence for an operator, without secrets: what was attempted, and what is wrong with it.
    pub fn new(code: Code, doing: impl Into<String>) -> Self {
        Self { code, doing: doing.into(), cause: None }
    }

    /// Attaches what lies beneath.
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The code that the C caller sees.
    pub fn code(&self) -> Code {
        self.code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.doing)?;
        let mut cause: Option<&dyn StdError> = self.cause.as_ref().map(|c| c.as_ref() as &dyn StdError);
        while let Some(error) = cause {
            // Our own errors print their causes themselves.
            write!(f, ": {error}")?;
            cause = if error.is::<Error>() { None } else { error.source() };
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({self})", self.code)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_ref().map(|c| c.as_ref() as &(dyn StdError + 'static))
    }
}

/// Turns a foreign error into ours, keeping it as the cause.
pub trait Doing<T> {
    /// Says which code the failure becomes and what was being done.
    fn doing(self, code: Code, doing: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, code: Code, doing: impl Into<String>) -> Result<T> {
        self.map_err(|cause| Error::new(code, doing).because(cause))
    }
}

/// Shorthand for a refusal: `return Err(refuse(Code::KeyHandleInvalid, "…"))`.
pub fn refuse(code: Code, doing: impl Into<String>) -> Error {
    Error::new(code, doing)
}
