//! General-purpose functions: `C_Initialize`, `C_Finalize`, `C_GetInfo`, `C_GetFunctionList`.

use std::ptr;

use cryptoki_sys::{CK_C_INITIALIZE_ARGS, CK_INFO, CK_ULONG, CK_VOID_PTR, CKR_FUNCTION_NOT_SUPPORTED, CKR_RANDOM_NO_RNG};

use crate::case::{Case, Level, Outcome, Stop};
use crate::context::{Context, Session};
use crate::module::Rv;
use crate::{answers, check, ck};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "general/initialize-twice",
        level: Level::Must,
        section: "3.1, 5.4.1 C_Initialize",
        says: "A second C_Initialize in one process, without C_Finalize between, answers CKR_CRYPTOKI_ALREADY_INITIALIZED: \
               libraries that share a process rely on it to know that another one was first.",
        run: initialize_twice,
    },
    Case {
        id: "general/initialize-reserved",
        level: Level::Must,
        section: "3.1, 5.4.1 C_Initialize",
        says: "pReserved must be NULL; any other value answers CKR_ARGUMENTS_BAD.",
        run: initialize_reserved,
    },
    Case {
        id: "general/finalize-reserved",
        level: Level::Must,
        section: "3.1, 5.4.2 C_Finalize",
        says: "pReserved of C_Finalize must be NULL; any other value answers CKR_ARGUMENTS_BAD.",
        run: finalize_reserved,
    },
    Case {
        id: "general/not-initialized",
        level: Level::Must,
        section: "3.1, 5.4 General-purpose functions",
        says: "Before C_Initialize every function but C_GetFunctionList and C_GetInterface* answers CKR_CRYPTOKI_NOT_INITIALIZED.",
        run: not_initialized,
    },
    Case {
        id: "general/random",
        level: Level::Security,
        section: "3.1, 5.19.2 C_GenerateRandom",
        says: "Each call fills the whole buffer, and not a byte beyond it, with bytes that no other call gave.",
        run: random,
    },
    Case {
        id: "general/seed-random",
        level: Level::Must,
        section: "3.1, 5.19.1 C_SeedRandom",
        says: "A seed is taken or refused by a code that says why; after it the generator still gives what nobody can foresee.",
        run: seed_random,
    },
];

fn initialize_twice(context: &Context) -> Outcome {
    answers!(context.initialize(), [CKR_OK], "C_Initialize");
    answers!(context.initialize(), [CKR_CRYPTOKI_ALREADY_INITIALIZED], "a second C_Initialize");
    answers!(context.finalize(), [CKR_OK], "C_Finalize");
    answers!(context.initialize(), [CKR_OK], "C_Initialize after C_Finalize");
    Ok(())
}

fn initialize_reserved(context: &Context) -> Outcome {
    // A module that takes it for a text must find the text's end.
    let mut something = *b"neither a file nor a setting\0";
    let mut arguments = CK_C_INITIALIZE_ARGS { pReserved: something.as_mut_ptr().cast(), ..Default::default() };
    let arguments: CK_VOID_PTR = ptr::from_mut(&mut arguments).cast();
    answers!(ck!(context.module, C_Initialize, arguments), [CKR_ARGUMENTS_BAD], "C_Initialize with a reserved argument");
    Ok(())
}

fn finalize_reserved(context: &Context) -> Outcome {
    answers!(context.initialize(), [CKR_OK], "C_Initialize");
    let mut something = 1_u8;
    let reserved: CK_VOID_PTR = ptr::from_mut(&mut something).cast();
    answers!(ck!(context.module, C_Finalize, reserved), [CKR_ARGUMENTS_BAD], "C_Finalize with a reserved argument");
    Ok(())
}

fn not_initialized(context: &Context) -> Outcome {
    let mut info = CK_INFO::default();
    answers!(ck!(context.module, C_GetInfo, &mut info), [CKR_CRYPTOKI_NOT_INITIALIZED], "C_GetInfo");
    answers!(ck!(context.module, C_Finalize, ptr::null_mut()), [CKR_CRYPTOKI_NOT_INITIALIZED], "C_Finalize");
    let mut count = 0;
    let rv = ck!(context.module, C_GetSlotList, 0, ptr::null_mut(), &mut count);
    answers!(rv, [CKR_CRYPTOKI_NOT_INITIALIZED], "C_GetSlotList");
    check!(count == 0, "C_GetSlotList wrote a count without being initialised");
    Ok(())
}

/// Random bytes in a buffer with a margin, which must stay as it was.
fn drawn(session: &Session<'_>, len: usize) -> Result<Vec<u8>, Stop> {
    let mut bytes = vec![0xa5; len + 8];
    let rv = ck!(session.context.module, C_GenerateRandom, session.handle, bytes.as_mut_ptr(), len as CK_ULONG);
    if matches!(rv, Rv(CKR_RANDOM_NO_RNG | CKR_FUNCTION_NOT_SUPPORTED)) {
        return Err(Stop::Skip(format!("the token has no generator: {rv}")));
    }
    answers!(rv, [CKR_OK], "C_GenerateRandom of {len} bytes");
    check!(bytes[len..] == [0xa5; 8], "C_GenerateRandom of {len} bytes wrote beyond them");
    bytes.truncate(len);
    Ok(bytes)
}

fn random(context: &Context) -> Outcome {
    let session = context.session(false)?;
    for len in [1, 7, 16, 33, 1000] {
        // So many draws that no byte stays the same by chance.
        let mut draws = Vec::new();
        for _ in 0..32 {
            draws.push(drawn(&session, len)?);
        }
        let fixed = (0..len).find(|at| draws.iter().all(|draw| draw[*at] == draws[0][*at]));
        check!(fixed.is_none(), "byte {fixed:?} of {len} random ones is always the same");
        draws.sort_unstable();
        draws.dedup();
        check!(len < 16 || draws.len() == 32, "C_GenerateRandom gave the same {len} bytes twice");
    }
    Ok(())
}

fn seed_random(context: &Context) -> Outcome {
    let session = context.session(true)?;
    let seeded = || {
        let mut seed = [7_u8; 32];
        let rv = ck!(context.module, C_SeedRandom, session.handle, seed.as_mut_ptr(), 32);
        answers!(
            rv,
            [CKR_OK, CKR_RANDOM_SEED_NOT_SUPPORTED, CKR_RANDOM_NO_RNG, CKR_FUNCTION_NOT_SUPPORTED],
            "C_SeedRandom of 32 bytes"
        );
        drawn(&session, 32)
    };
    check!(seeded()? != seeded()?, "the same seed gives the same bytes: whoever seeds knows them");
    Ok(())
}
