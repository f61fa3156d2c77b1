//! The door against its callers' mistakes: NULL, lengths, states, panics, forks; and the fuzz targets on seeded input.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cryptoki_sys::*;

use super::harness::{self, initialised, uninitialised};
use super::tables::{CALLS, FUNCTIONS, GATE, Since};
use super::{general, object, session, slot};
use crate::sys::process::tests::in_child;

/// Bytes behind every pointer that is not NULL: more than any structure or length in these tests.
const PIECE_BYTES: usize = 4096;
/// The length that goes with them.
const LEN: u64 = 16;

/// What the arguments of one call are.
#[derive(Clone, Copy)]
struct Plan {
    /// The parameter that is NULL, or of the wrong length.
    odd: Option<usize>,
    /// What the odd one is, if it is a number.
    number: u64,
    /// What stands behind pointers.
    fill: u8,
    session: u64,
}

/// Draws the arguments of one call, one after the other.
pub struct Arguments {
    plan: Plan,
    at: usize,
    kinds: Vec<&'static str>,
    pieces: Vec<Vec<u8>>,
}

impl Arguments {
    fn next(&mut self) -> (&'static str, bool) {
        self.at += 1;
        (self.kinds[self.at - 1], self.plan.odd == Some(self.at - 1))
    }
}

/// A type of a C function's parameter.
pub trait Argument {
    fn draw(arguments: &mut Arguments) -> Self;
}

impl Argument for u64 {
    fn draw(arguments: &mut Arguments) -> u64 {
        match arguments.next() {
            (_, true) => arguments.plan.number,
            ("CK_SESSION_HANDLE", _) => arguments.plan.session,
            ("CK_ULONG", _) => LEN,
            ("CK_FLAGS", _) => CKF_SERIAL_SESSION | CKF_DONT_BLOCK,
            ("CK_SLOT_ID", _) => first_slot().unwrap_or_default(),
            _ => 1,
        }
    }
}

impl Argument for u8 {
    fn draw(arguments: &mut Arguments) -> u8 {
        arguments.next();
        1
    }
}

impl<T> Argument for *mut T {
    fn draw(arguments: &mut Arguments) -> *mut T {
        match arguments.next() {
            (_, true) => std::ptr::null_mut(),
            _ => {
                arguments.pieces.push(vec![arguments.plan.fill; PIECE_BYTES]);
                arguments.pieces.last_mut().unwrap().as_mut_ptr().cast()
            }
        }
    }
}

impl Argument for CK_NOTIFY {
    fn draw(arguments: &mut Arguments) -> CK_NOTIFY {
        arguments.next();
        None
    }
}

fn call(at: usize, plan: Plan) -> CK_RV {
    let kinds = FUNCTIONS[at].parameters.iter().map(|(kind, _)| *kind).collect();
    CALLS[at](&mut Arguments { plan, at: 0, kinds, pieces: Vec::new() })
}

fn first_slot() -> Option<u64> {
    let (mut slots, mut count) = ([0; 4], 4);
    // SAFETY: our own variables, with their lengths.
    let rv = unsafe { slot::C_GetSlotList(1, slots.as_mut_ptr(), &raw mut count) };
    (rv == CKR_OK).then_some(slots[0])
}

fn open_session() -> u64 {
    let (slot, mut session) = (first_slot().unwrap(), 0);
    let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
    // SAFETY: our own variable.
    let rv = unsafe { session::C_OpenSession(slot, flags, std::ptr::null_mut(), None, &raw mut session) };
    assert_eq!(rv, CKR_OK);
    session
}

/// Functions that answer without C_Initialize.
const FREE: &[&str] = &["C_GetFunctionList", "C_GetInterfaceList", "C_GetInterface"];

#[test]
fn before_initialisation_every_function_says_so_whatever_it_is_given() {
    uninitialised(|| {
        for (at, function) in FUNCTIONS.iter().enumerate().filter(|(_, it)| !FREE.contains(&it.name) && it.name != "C_Initialize")
        {
            for odd in (0..function.parameters.len()).map(Some).chain([None]) {
                let plan = Plan { odd, number: u64::MAX, fill: 0xff, session: 1 };
                assert_eq!(call(at, plan), CKR_CRYPTOKI_NOT_INITIALIZED, "{} {odd:?}", function.name);
            }
        }
    });
}

/// Parameters for which NULL is an answer of its own, and what it answers here.
const NULL_MEANS: &[(&str, &str, CK_RV)] = &[
    ("C_Initialize", "arguments", CKR_CRYPTOKI_ALREADY_INITIALIZED),
    ("C_Finalize", "reserved", CKR_OK),
    ("C_GetSlotList", "slots", CKR_OK),
    ("C_GetMechanismList", "mechanisms", CKR_OK),
    ("C_OpenSession", "application", CKR_OK),
    ("C_GetInterfaceList", "interfaces", CKR_OK),
    ("C_GetInterface", "name", CKR_ARGUMENTS_BAD),
    ("C_GetInterface", "version", CKR_ARGUMENTS_BAD),
    // Looked at when there is an event.
    ("C_WaitForSlotEvent", "slot", CKR_ARGUMENTS_BAD),
    ("C_WaitForSlotEvent", "reserved", CKR_NO_EVENT),
];

#[test]
fn null_is_refused_where_something_must_be() {
    for (at, function) in FUNCTIONS.iter().enumerate().filter(|(_, it)| it.since == Since::V2_40 || FREE.contains(&it.name)) {
        for (odd, (kind, name)) in function.parameters.iter().enumerate().filter(|(_, (kind, _))| kind.ends_with("_PTR")) {
            let rv = initialised(|| call(at, Plan { odd: Some(odd), number: 0, fill: 0, session: open_session() })).unwrap();
            let listed = NULL_MEANS.iter().find(|(f, p, _)| (*f, *p) == (function.name, *name));
            let expected = match listed {
                Some((_, _, expected)) => *expected,
                // A length query: of an operation that is not running, of a key that is not there.
                None if is_output(function.parameters, odd) => match rv {
                    CKR_OPERATION_NOT_INITIALIZED | CKR_WRAPPING_KEY_HANDLE_INVALID => continue,
                    _ => CKR_OPERATION_NOT_INITIALIZED,
                },
                // The first of two templates is judged first.
                None if *name == "private_attributes" => CKR_ATTRIBUTE_VALUE_INVALID,
                None => CKR_ARGUMENTS_BAD,
            };
            assert_eq!(rv, expected, "{}: {kind} {name} is NULL", function.name);
        }
    }
}

/// Whether a byte buffer is followed by a place for its length.
fn is_output(parameters: &[(&str, &str)], at: usize) -> bool {
    parameters[at].0 == "CK_BYTE_PTR" && parameters.get(at + 1).is_some_and(|(kind, _)| *kind == "CK_ULONG_PTR")
}

#[test]
fn lengths_beyond_all_memory_are_refused() {
    for (at, function) in FUNCTIONS.iter().enumerate().filter(|(_, it)| it.since == Since::V2_40) {
        for (odd, (_, name)) in function.parameters.iter().enumerate().filter(|(_, (kind, _))| *kind == "CK_ULONG") {
            for number in [u64::MAX, u64::MAX / 2, 1 << 62, 1 << 48] {
                let rv = initialised(|| call(at, Plan { odd: Some(odd), number, fill: 0, session: open_session() })).unwrap();
                let expected = match function.name {
                    "C_FindObjects" => CKR_OPERATION_NOT_INITIALIZED,
                    // The first of two templates is judged first.
                    "C_GenerateKeyPair" if *name == "private_count" => CKR_ATTRIBUTE_VALUE_INVALID,
                    _ => CKR_ARGUMENTS_BAD,
                };
                assert_eq!(rv, expected, "{}: {name} is {number:#x}", function.name);
            }
        }
    }
}

#[test]
fn buffers_said_to_be_longer_than_all_memory_are_refused() {
    for (at, function) in FUNCTIONS.iter().enumerate().filter(|(_, it)| it.since == Since::V2_40) {
        let outputs = (0..function.parameters.len()).filter(|at| is_output(function.parameters, *at)).count();
        if outputs > 0 {
            let rv = initialised(|| call(at, Plan { odd: None, number: 0, fill: 0xff, session: open_session() })).unwrap();
            assert_eq!(rv, CKR_ARGUMENTS_BAD, "{}", function.name);
        }
    }
}

#[test]
fn a_session_that_is_not_open_is_told_before_what_would_be_done_in_it() {
    // Functions whose pointers are looked at first; an operation's start looks at the session first, too.
    for (at, function) in FUNCTIONS.iter().enumerate().filter(|(_, it)| it.parameters[0].0 == "CK_SESSION_HANDLE") {
        let rv = initialised(|| call(at, Plan { odd: Some(0), number: 999, fill: 0, session: 0 })).unwrap();
        assert_eq!(rv, CKR_SESSION_HANDLE_INVALID, "{}", function.name);
    }
}

#[test]
fn later_functions_say_that_they_are_not_supported() {
    const WORK: &[&str] = &["C_GetInterfaceList", "C_GetInterface", "C_LoginUser", "C_SessionCancel"];
    for (at, function) in FUNCTIONS.iter().enumerate().filter(|(_, it)| it.since > Since::V2_40 && !WORK.contains(&it.name)) {
        let rv = initialised(|| call(at, Plan { odd: None, number: 0, fill: 0, session: open_session() })).unwrap();
        assert_eq!(rv, CKR_FUNCTION_NOT_SUPPORTED, "{}", function.name);
    }
}

#[test]
fn a_panic_is_an_answer_and_the_next_call_works() {
    initialised(|| {
        let session = open_session();
        let mut class = CKO_DATA;
        let mut label = harness::LABEL_THAT_PANICS.to_vec();
        let mut attributes = [
            CK_ATTRIBUTE { type_: CKA_CLASS, pValue: (&raw mut class).cast(), ulValueLen: 8 },
            CK_ATTRIBUTE { type_: CKA_LABEL, pValue: label.as_mut_ptr().cast(), ulValueLen: label.len() as u64 },
        ];
        let mut handle = 0;
        // SAFETY: our own variables, with their lengths.
        unsafe {
            let panics = object::C_CreateObject(session, attributes.as_mut_ptr(), 2, &raw mut handle);
            assert_eq!((panics, handle), (CKR_GENERAL_ERROR, 0));
            assert!(harness::last_mistake().starts_with("C_CreateObject: a bug, please report it: a label told the token"));
            assert_eq!(object::C_CreateObject(session, attributes.as_mut_ptr(), 1, &raw mut handle), CKR_OK);
        }
        assert!(handle != 0);
    })
    .unwrap();
}

#[test]
fn function_lists_are_complete_and_begin_one_another() {
    assert_eq!(FUNCTIONS.iter().filter(|it| it.since == Since::V2_40).count(), 68);
    assert_eq!(FUNCTIONS.iter().filter(|it| it.since == Since::V3_0).count(), 24);
    assert_eq!(FUNCTIONS.iter().filter(|it| it.since == Since::V3_2).count(), 12);
    assert_eq!(size_of::<CK_FUNCTION_LIST>(), size_of::<usize>() * 69);
    assert_eq!(size_of::<CK_FUNCTION_LIST_3_2>(), size_of::<usize>() * 105);
    let mut list = std::ptr::null_mut();
    // SAFETY: our own variable; the list is constant.
    let list = unsafe {
        assert_eq!(general::C_GetFunctionList(&raw mut list), CKR_OK);
        &*list
    };
    assert_eq!((list.version.major, list.version.minor), (2, 40));
    assert!(list.C_WaitForSlotEvent.is_some());
}

/// The version of the interface that is found, or the refusal.
fn interface(name: Option<&std::ffi::CStr>, version: Option<(u8, u8)>, flags: u64) -> Result<(u8, u8), CK_RV> {
    let mut found = std::ptr::null_mut();
    let name = name.map_or(std::ptr::null_mut(), |name| name.as_ptr().cast_mut().cast());
    let mut version = version.map(|(major, minor)| CK_VERSION { major, minor });
    let version = version.as_mut().map_or(std::ptr::null_mut(), |version| version as *mut CK_VERSION);
    // SAFETY: our own variables; interfaces are constant.
    unsafe {
        match general::C_GetInterface(name, version, &raw mut found, flags) {
            CKR_OK => {
                assert_eq!(std::ffi::CStr::from_ptr((*found).pInterfaceName.cast()), c"PKCS 11");
                let version = (*found).pFunctionList.cast::<CK_VERSION>().read();
                Ok((version.major, version.minor))
            }
            rv => Err(rv),
        }
    }
}

#[test]
fn interfaces_are_found_by_name_version_and_flags() {
    assert_eq!(interface(None, None, 0), Ok((3, 0)));
    assert_eq!(interface(Some(c"PKCS 11"), None, 0), Ok((3, 0)));
    assert_eq!(interface(Some(c"PKCS 11"), Some((3, 0)), 0), Ok((3, 0)));
    assert_eq!(interface(None, Some((2, 40)), 0), Ok((2, 40)));
    assert_eq!(interface(None, Some((3, 2)), 0), Ok((3, 2)));
    assert_eq!(interface(None, Some((3, 1)), 0), Err(CKR_ARGUMENTS_BAD));
    assert_eq!(interface(Some(c"PKCS"), None, 0), Err(CKR_ARGUMENTS_BAD));
    assert_eq!(interface(Some(c"PKCS 11 and more"), None, 0), Err(CKR_ARGUMENTS_BAD));
    assert_eq!(interface(Some(c"Vendor X"), None, 0), Err(CKR_ARGUMENTS_BAD));
    assert_eq!(interface(None, None, CKF_INTERFACE_FORK_SAFE), Err(CKR_ARGUMENTS_BAD));
    let mut count = 0;
    // SAFETY: our own variables, with their lengths.
    unsafe {
        assert_eq!(general::C_GetInterfaceList(std::ptr::null_mut(), &raw mut count), CKR_OK);
        assert_eq!(count, 3);
        let mut few = [CK_INTERFACE::default(); 2];
        count = 2;
        assert_eq!(general::C_GetInterfaceList(few.as_mut_ptr(), &raw mut count), CKR_BUFFER_TOO_SMALL);
        assert!(count == 3 && few[0].pFunctionList.is_null());
    }
}

/// OpenSC's pkcs11-spy puts its own functions into the interface that it was given; the list of interfaces still names ours.
#[test]
fn an_interface_may_be_written_by_the_client() {
    let (mut found, mut version) = (std::ptr::null_mut(), CK_VERSION { major: 3, minor: 0 });
    let (mut all, mut count) = ([CK_INTERFACE::default(); 3], 3);
    // SAFETY: our own variables, with their lengths; the interface is the client's to write.
    unsafe {
        assert_eq!(general::C_GetInterface(std::ptr::null_mut(), &raw mut version, &raw mut found, 0), CKR_OK);
        let own = (*found).pFunctionList;
        (*found).pFunctionList = (&raw mut version).cast();
        assert_eq!((*found).pFunctionList, (&raw mut version).cast());
        assert_eq!(general::C_GetInterfaceList(all.as_mut_ptr(), &raw mut count), CKR_OK);
        (*found).pFunctionList = own;
        assert_eq!(all[0].pFunctionList, own);
    }
}

#[test]
fn initialisation_arguments_are_judged_before_anything_is_opened() {
    unsafe extern "C" fn mutex(_: CK_VOID_PTR) -> CK_RV {
        CKR_OK
    }
    let with = |some: CK_LOCKMUTEX, reserved: usize| {
        let mut arguments = CK_C_INITIALIZE_ARGS { LockMutex: some, ..CK_C_INITIALIZE_ARGS::default() };
        arguments.pReserved = std::ptr::without_provenance_mut(reserved);
        // SAFETY: our own variable.
        unsafe { general::C_Initialize((&raw mut arguments).cast()) }
    };
    uninitialised(|| {
        assert_eq!(with(Some(mutex), 0), CKR_ARGUMENTS_BAD);
        assert_eq!(with(None, 1), CKR_ARGUMENTS_BAD);
    });
    initialised(|| assert_eq!(with(None, 0), CKR_CRYPTOKI_ALREADY_INITIALIZED)).unwrap();
}

fn info() -> CK_RV {
    let mut info = CK_INFO::default();
    // SAFETY: our own variable.
    unsafe { general::C_GetInfo(&raw mut info) }
}

#[test]
fn calls_during_finalisation_end_well_or_come_too_late() {
    uninitialised(|| {
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        assert!([CKR_OK, CKR_CRYPTOKI_NOT_INITIALIZED].contains(&info()));
                    }
                });
            }
            for _ in 0..500 {
                harness::initialise().unwrap();
                assert_eq!(info(), CKR_OK);
                assert_eq!(general::C_Finalize(std::ptr::null_mut()), CKR_OK);
                assert_eq!(info(), CKR_CRYPTOKI_NOT_INITIALIZED);
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn a_forked_child_starts_afresh_and_its_parent_goes_on() {
    initialised(|| {
        assert!(in_child(|| {
            let born = info();
            let again = harness::initialise().is_ok();
            born == CKR_CRYPTOKI_NOT_INITIALIZED && again && info() == CKR_OK
        }));
        assert_eq!(info(), CKR_OK);
    })
    .unwrap();
}

#[test]
fn a_forked_child_carries_on_where_the_configuration_says_so() {
    uninitialised(|| {
        GATE.fill(|| harness::open(true).map(Into::into)).unwrap();
        assert!(in_child(|| info() == CKR_OK && in_child(|| info() == CKR_OK)));
        assert_eq!(info(), CKR_OK);
    });
}

/// A small generator: the same seed gives the same run everywhere.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

/// Runs a fuzz target on what is kept for it, then on seeded input: so many times, or as long as a test may take.
fn run(name: &str, target: fn(&[u8]), times: u64, len_max: u64) {
    const TIME_MAX: Duration = Duration::from_secs(10);
    crate::hostile::kept::inputs(name).iter().for_each(|bytes| target(bytes));
    let start = Instant::now();
    for seed in 1..=times {
        let mut random = Xorshift(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let len = random.next() % len_max;
        let bytes = random.bytes(len as usize);
        let outcome = std::panic::catch_unwind(|| target(&bytes));
        assert!(outcome.is_ok(), "the target fails on seed {seed}");
        if start.elapsed() > TIME_MAX {
            break;
        }
    }
}

#[test]
fn malformed_templates_get_codes() {
    run("templates", harness::templates, 20_000, 300);
}

#[test]
fn malformed_parameters_get_codes() {
    run("parameters", harness::parameters, 20_000, 200);
}

#[test]
fn any_sequence_of_calls_keeps_the_length_protocol() {
    run(
        "calls",
        |bytes| {
            harness::calls(bytes);
        },
        5_000,
        4_000,
    );
    let successes: usize = (1..100).map(|seed| harness::calls(&Xorshift(seed).bytes(4_000))).sum();
    assert!(successes > 500, "sequences of calls get nowhere: {successes} successes in 99 of them");
}
