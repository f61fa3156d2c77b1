//! Faults on purpose: with the feature `faults`, and one of these names in `HSMPOOL_FAULT`, the module breaks exactly one rule.
//!
//! A test that passes on a sound module has shown little: it must fail on the module whose rule is broken. Nothing that anybody runs
//! contains a fault: without the feature [`on`] is constantly false, and with it the crate compiles with debug assertions only.
//!
//! Knows: nothing.

#[cfg(all(feature = "faults", not(debug_assertions)))]
compile_error!("the feature `faults` breaks the module on purpose: build it with debug assertions, and never ship it");

macro_rules! faults {
    ($($(#[$doc:meta])* $Fault:ident,)*) => {
        /// One broken rule each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])* $Fault,)*
        }

        impl Fault {
            /// Every fault.
            pub const ALL: &[Fault] = &[$(Fault::$Fault,)*];

            /// What `HSMPOOL_FAULT` calls it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Fault::$Fault => stringify!($Fault),)*
                }
            }
        }
    };
}

faults! {
    // The C interface.
    /// A too small buffer is answered with `CKR_ARGUMENTS_BAD`.
    SmallBufferCode,
    /// A list that does not fit its array is answered with `CKR_OK`.
    ShortListIsOk,
    /// `C_Initialize` takes a `pReserved` that is not NULL.
    ReservedIsTaken,
    /// `C_Initialize` takes some, but not all mutex callbacks.
    SomeMutexesAreTaken,
    /// A second `C_Initialize` is answered with `CKR_OK`.
    SecondInitializeIsOk,
    /// `C_GetAttributeValue` tells the true length beside `CKR_BUFFER_TOO_SMALL`.
    ShortAttributeTellsLength,
    /// A template may name an attribute twice.
    TemplateTakesTwice,

    // Sessions, logins, operations.
    /// A query for a length tells one byte less than there is.
    QueryTellsTooLittle,
    /// `CKR_BUFFER_TOO_SMALL` ends the operation.
    SmallBufferEnds,
    /// An Init throws a running operation away.
    SecondInitIsTaken,
    /// A verification goes on after a signature of a wrong length.
    VerifyGoesOn,
    /// A second login of the same user is answered with `CKR_OK`.
    SecondLoginIsOk,
    /// A user type that there is not logs the user in.
    AnyUserTypeIsUser,
    /// Operations with keys go on after `C_Logout`.
    LogoutKeepsOperations,
    /// Private session objects and handles of private objects outlive `C_Logout`.
    LogoutKeepsPrivateObjects,
    /// The user may call `C_InitPIN`.
    UserInitsPin,
    /// `C_SetPIN` works in a read-only session.
    ReadOnlySessionSetsPin,
    /// `C_OpenSession` works without `CKF_SERIAL_SESSION`.
    ParallelSessions,
    /// A login outlives its last session.
    LastCloseKeepsLogin,
    /// Session objects outlive their session.
    SessionObjectsStay,
    /// `C_SessionCancel` cancels nothing.
    CancelDoesNothing,
    /// A read-only session makes token objects.
    ReadOnlySessionWrites,
    /// A read-only session opens while the SO is logged in.
    ReadOnlyBesideSo,
    /// `C_InitToken` works while sessions are open.
    InitTokenUnderSessions,
    /// `C_DestroyObject` destroys nothing.
    DestroyedObjectStays,
    /// Texts in structures are filled with NUL, not with blanks.
    TextsEndWithNul,
    /// `C_DigestUpdate` forgets a part of one byte.
    SingleBytesAreLost,
    /// `C_GenerateRandom` leaves the buffer as it was.
    RandomIsNotWritten,
    /// Where no operation runs, `CKR_ARGUMENTS_BAD` says so.
    NothingRunsCode,
    /// `C_GetObjectSize` tells 0.
    SizesAreNone,

    // Objects and their rules.
    /// A sensitive key's value is shown to whoever reads it.
    SensitiveIsShown,
    /// A key is used for what its attributes forbid.
    UsesIgnoreFlags,
    /// `CKA_ALLOWED_MECHANISMS` forbids nothing.
    AnyMechanismAllowed,
    /// A search takes no notice of `CKA_LABEL`.
    SearchIgnoresLabel,
    /// A search by the value of a sensitive key finds it.
    SearchFindsSecrets,
    /// A key with `CKA_EXTRACTABLE` false is wrapped.
    WrapsUnextractable,
    /// A key with `CKA_WRAP_WITH_TRUSTED` is wrapped under any key.
    WrapsUnderUntrusted,
    /// `CKA_WRAP_TEMPLATE` demands nothing.
    WrapTemplateIgnored,
    /// `CKA_UNWRAP_TEMPLATE` demands nothing.
    UnwrapTemplateIgnored,
    /// `CKA_MODIFIABLE`, `CKA_COPYABLE` and `CKA_DESTROYABLE` forbid nothing.
    FixedObjectsMove,
    /// `C_SetAttributeValue` takes protections off.
    StickyAttributesMove,
    /// `C_CopyObject` takes protections off.
    CopyLoosens,
    /// The user sets `CKA_TRUSTED`.
    UserTrusts,
    /// A template may give what only the token sets.
    ReadOnlyAttributesGiven,
    /// An unwrapped key claims that it was always sensitive and never extractable.
    UnwrappedKeyForgetsItsPast,
    /// An imported key claims that it was made here.
    ImportedKeyIsLocal,
    /// A key that contains a sensitive key's bits may be read.
    DerivedKeyIsOpen,

    // A token.
    /// PINs of any length are taken.
    PinLengthUnchecked,
    /// A locked PIN is looked at all the same.
    LockedPinIsTaken,
    /// `CKA_ALWAYS_AUTHENTICATE` asks for nothing.
    AlwaysAuthenticateIgnored,
    /// `C_SetAttributeValue` keeps what it changed before it failed.
    SetIsNotAtomic,
    /// A search for everything lists private objects without a login.
    PrivateIsListed,
    /// A key pair that cannot be made leaves its public key.
    HalfAPairStays,

    // Mechanisms.
    /// Keys of any length are made of unwrapped bytes.
    KeysOfAnyLength,
    /// Any `CKA_CHECK_VALUE` is right.
    CheckValueUnchecked,
    /// AES-GCM decrypts whatever the tag.
    GcmTagUnchecked,
    /// A padding count of 0 has a code of its own.
    CbcPaddingTold,
    /// Wrong padding is taken off.
    CbcPaddingUnchecked,
    /// PKCS #1 v1.5 decryption tells a wrong block type.
    Pkcs1PaddingTold,
    /// A MAC's first bytes do for the whole.
    ShortMacIsGood,
    /// Every signature of the right form is valid.
    AnySignatureIsGood,
    /// X25519 takes points of small order.
    SmallOrderIsTaken,
    /// The counter of AES-CTR may come round.
    CounterRepeats,
    /// The flags of AES-CTR claim wrapping.
    FlagsClaimTooMuch,
    /// The flags of AES-CBC do not claim decryption.
    FlagsClaimTooLittle,
    /// The label of RSA-OAEP is ignored.
    OaepLabelIgnored,

    // The log and the store of a group.
    /// A member says that its log is on the disk before it is.
    AcknowledgeBeforeSync,
    /// A member's log is cut before its store is durable.
    PurgeBeforeDurable,
    /// The answer to a request is not kept, so that the request is applied again.
    RequestNotRecorded,
    /// Where a store stands in the log is not written with what was applied.
    PlaceNotRecorded,
    /// A member forgets at a restart whom it has voted for.
    VoteNotKept,
    /// A look-up does not ask whether it is the latest.
    ReadsAreStale,
    /// A look-up does not see what is applied in an open transaction.
    LooksMissWhatIsOpen,
    /// Any change is acknowledged before its transaction is committed, not only new objects.
    RevocationsStayOpen,
    /// A destroy returns before others have applied it.
    DestroyDoesNotWait,
    /// A change is acknowledged when one zone has it.
    CommitsInOneZone,
    /// A change that nobody has committed in time is acknowledged, by a member that is cut off too.
    LateIsDone,
    /// A destroy returns before members have on their disks that it is committed.
    RevocationsAreNotKept,
    /// A member takes itself for served by its lease three times as long as others wait for it.
    LeasesAreLong,
    /// A destroy does not wait for the lease of a member that was just removed.
    RemovedAreNotWaitedFor,
    /// A member that is cut off uses keys for ever.
    IsolationNeverEnds,
    /// A member does not wait until it has what its client has seen elsewhere.
    MarksAreIgnored,
    /// A copy of another member's store is installed as it came.
    CopiesAreNotChecked,
    /// A copy of another member's store is installed without the answers to requests.
    CopiesLackAnswers,
    /// A change of the voters that broke off half way stays so.
    BrokenOffChangesStay,
    /// One zone may be given a quorum of the voters.
    OneZoneHoldsQuorum,
    /// Members of a group that was left behind by a survivor are heard.
    OldGroupIsHeard,
    /// A node that is no member proposes changes.
    StrangersPropose,

    // A pool.
    /// A request that is sent again gets another number.
    RetriesAreRenumbered,
    /// A ticket is good after its PIN was changed.
    TicketOutlivesPin,
    /// A ticket is good for any client that shows it.
    TicketForAnyone,
    /// A capsule is good for any application and login.
    CapsuleForAnyone,
    /// A ticket is good after the logout.
    TicketOutlivesLogout,
    /// A context-specific login is good for any number of uses.
    PermitsAreNotSpent,
    /// Wrong PINs are not counted.
    WrongPinsAreNotCounted,
    /// Under the strict policy, too, a nonce is used again.
    NoncesAreForgotten,
    /// The same use of a key, asked for again, is another one.
    RepeatedUsesSpendTwice,
    /// A forked child goes on with its parent's state.
    ForkedStateReused,
}

/// Whether this fault is switched on: `HSMPOOL_FAULT`, read once, names it.
#[cfg(feature = "faults")]
pub fn on(fault: Fault) -> bool {
    use std::sync::LazyLock;

    static CHOSEN: LazyLock<Option<Fault>> = LazyLock::new(|| {
        let name = std::env::var("HSMPOOL_FAULT").ok()?;
        let known = Fault::ALL.iter().copied().find(|fault| fault.name() == name);
        Some(known.unwrap_or_else(|| panic!("HSMPOOL_FAULT={name} names no fault")))
    });
    *CHOSEN == Some(fault)
}

/// Whether this fault is switched on: never, in a build without the feature `faults`.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn on(_: Fault) -> bool {
    false
}
