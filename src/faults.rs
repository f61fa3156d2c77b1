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
    /// A too small buffer is answered with `CKR_ARGUMENTS_BAD`.
    SmallBufferCode,
    /// A sensitive key's value is shown to whoever reads it.
    SensitiveIsShown,
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
