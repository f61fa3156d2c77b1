//! The list of mechanisms and what is told of each.

use std::collections::BTreeSet;
use std::ptr;

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::context::Context;
use crate::crypt::mechanism_name;
use crate::known::KNOWN;
use crate::module::Rv;
use crate::{answers, check, ck};

/// The list's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "mechanism/list",
        level: Level::Must,
        section: "3.1, 5.5.5 C_GetMechanismList, 5.5.6 C_GetMechanismInfo",
        says: "Each mechanism stands in the list once; what is told of it has a least key size that is no more than the greatest.",
        run: list,
    },
    Case {
        id: "mechanism/list-too-small",
        level: Level::Must,
        section: "3.1, 5.5.5 C_GetMechanismList",
        says: "A list that has no room for all mechanisms answers CKR_BUFFER_TOO_SMALL and tells how many there are.",
        run: list_too_small,
    },
    Case {
        id: "mechanism/unlisted",
        level: Level::Must,
        section: "3.1, 5.5.6 C_GetMechanismInfo",
        says: "Of a mechanism that is not in the list nothing is told: CKR_MECHANISM_INVALID.",
        run: unlisted,
    },
];

/// Every mechanism of the suite's token.
pub fn listed(context: &Context) -> Result<Vec<CK_MECHANISM_TYPE>, Stop> {
    let (slot, mut count) = (context.slot()?, 0);
    context.ok(ck!(context.module, C_GetMechanismList, slot, ptr::null_mut(), &mut count), "C_GetMechanismList for the count")?;
    let mut kinds = vec![0; count as usize];
    context.ok(ck!(context.module, C_GetMechanismList, slot, kinds.as_mut_ptr(), &mut count), "C_GetMechanismList")?;
    kinds.truncate(count as usize);
    Ok(kinds)
}

fn list(context: &Context) -> Outcome {
    let session = context.session(false)?;
    let kinds = listed(context)?;
    check!(!kinds.is_empty(), "the token lists no mechanism");
    let different: BTreeSet<CK_MECHANISM_TYPE> = kinds.iter().copied().collect();
    check!(
        different.len() == kinds.len(),
        "{} of {} mechanisms stand in the list twice",
        kinds.len() - different.len(),
        kinds.len()
    );
    for kind in kinds {
        let mut info = CK_MECHANISM_INFO::default();
        let rv = ck!(context.module, C_GetMechanismInfo, session.context.slot()?, kind, &mut info);
        answers!(rv, [CKR_OK], "C_GetMechanismInfo of {}, which is listed,", mechanism_name(kind));
        let (least, greatest) = (info.ulMinKeySize, info.ulMaxKeySize);
        check!(least <= greatest, "{} has keys from {least} to {greatest}", mechanism_name(kind));
    }
    Ok(())
}

fn list_too_small(context: &Context) -> Outcome {
    let _session = context.session(false)?;
    let kinds = listed(context)?;
    let (slot, mut count, mut room) = (context.slot()?, 1, [0; 2]);
    if kinds.len() < 2 {
        return Err(Stop::Skip("the token has one mechanism only".into()));
    }
    let rv = ck!(context.module, C_GetMechanismList, slot, room.as_mut_ptr(), &mut count);
    answers!(rv, [CKR_BUFFER_TOO_SMALL], "C_GetMechanismList with room for one");
    check!(count as usize == kinds.len(), "{count} mechanisms were told where {} are", kinds.len());
    check!(room[1] == 0, "C_GetMechanismList wrote past its buffer");
    Ok(())
}

fn unlisted(context: &Context) -> Outcome {
    let _session = context.session(false)?;
    let (kinds, slot) = (listed(context)?, context.slot()?);
    let absent: Vec<CK_MECHANISM_TYPE> = KNOWN.iter().map(|row| row.kind).filter(|kind| !kinds.contains(kind)).collect();
    if absent.is_empty() {
        return Err(Stop::Skip("the token has every mechanism that the suite knows".into()));
    }
    for kind in absent {
        let mut info = CK_MECHANISM_INFO::default();
        let rv: Rv = ck!(context.module, C_GetMechanismInfo, slot, kind, &mut info);
        answers!(rv, [CKR_MECHANISM_INVALID], "C_GetMechanismInfo of {}, which is not listed,", mechanism_name(kind));
    }
    Ok(())
}
