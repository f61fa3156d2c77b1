//! A fork under calls: nobody is inside while the process forks, all are let in again, and the child's first calls find one gate with the value, or none.

use shuttle::rand::Rng;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

use crate::gate::{Gate, Guest};

/// Which process it is, as the model says.
pub mod sys {
    pub mod process {
        use shuttle::sync::atomic::{AtomicUsize, Ordering};

        shuttle::lazy_static! {
            pub static ref PROCESS: AtomicUsize = AtomicUsize::new(0);
        }

        pub struct ForkWord(usize);

        impl ForkWord {
            pub fn new() -> Self {
                Self(PROCESS.load(Ordering::SeqCst))
            }

            pub fn same_process(&self) -> bool {
                self.0 == PROCESS.load(Ordering::SeqCst)
            }
        }
    }
}

/// The library: it knows who is inside.
#[derive(Default)]
struct Library(AtomicUsize);

impl Guest for Library {
    fn carries_on_after_fork(&self) -> bool {
        true
    }
}

/// A gate lives as long as its process, which here is one order of one model.
fn gate() -> &'static Gate<Library> {
    let gate = Box::leak(Box::new(Gate::new()));
    gate.fill(|| Ok(Library::default())).unwrap();
    gate
}

fn call(gate: &Gate<Library>) -> bool {
    let went_in = gate.with(|library| {
        library.0.fetch_add(1, Ordering::SeqCst);
        library.0.fetch_sub(1, Ordering::SeqCst);
    });
    went_in.is_some()
}

fn play(fork: fn(&Gate<Library>, &Library)) {
    let gate = gate();
    let callers = [(); 2].map(|()| thread::spawn(move || (0..2).for_each(|_| assert!(call(gate), "a call found no library"))));
    // What a child would find is looked at from beside the gate: within it, the fork would wait for itself.
    let library = gate.with(|library| std::ptr::from_ref(library) as usize).unwrap();
    // SAFETY: the value stays in the gate, which is never freed.
    fork(gate, unsafe { &*(library as *const Library) });
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    assert!(call(gate));
    let taken = gate.clear();
    assert!(taken.is_some() && !call(gate));
}

pub fn works() {
    play(|gate, library| {
        // The wait may be given up: then somebody may be inside.
        let is_quiet = gate.before_fork();
        assert!(!is_quiet || library.0.load(Ordering::SeqCst) == 0, "a call was inside while the process forked");
        gate.after_fork();
    });
}

/// A fork that does not close the gate.
pub fn fails() {
    play(|_, library| assert_eq!(library.0.load(Ordering::SeqCst), 0));
}

/// What a child finds, whose threads all come at once: the same gate, with the value if nobody was inside at the fork.
fn child(gate: &'static Gate<Library>, was_quiet: bool) {
    sys::process::PROCESS.fetch_add(1, Ordering::SeqCst);
    let children = [(); 3].map(|()| thread::spawn(move || call(gate)));
    let found = children.map(|child| child.join().unwrap());
    assert_eq!(found, [was_quiet; 3], "quiet at the fork: {was_quiet}");
}

pub fn child_works() {
    let gate = gate();
    match shuttle::rand::thread_rng().gen_bool(0.5) {
        true => child(gate, gate.before_fork()),
        // The forking thread itself is inside: what it holds locked stays so.
        false => drop(gate.with(|_| child(gate, gate.before_fork()))),
    }
}

/// A child of a process that did not wait for its calls.
pub fn child_fails() {
    let gate = gate();
    gate.with(|_| child(gate, true));
}
