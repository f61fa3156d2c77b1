//! Threads that do everything at once: no deadlock, no panic, no code that means our own fault, nothing left behind.

use std::sync::atomic::{AtomicU64, Ordering};

use super::model::Dice;
use super::*;
use crate::error::Level;

/// Calls of each thread.
const CALLS: usize = 20_000;

/// What the threads share.
struct Shared {
    house: House,
    /// About the highest handle: calls name one of the latest, so that threads often meet.
    latest: AtomicU64,
}

/// Handles that calls choose from.
const LATEST: usize = 24;

impl Shared {
    fn made(&self, handle: u64) {
        self.latest.fetch_max(handle, Ordering::Relaxed);
    }

    fn one_of_the_latest(&self, dice: &mut Dice) -> u64 {
        self.latest.load(Ordering::Relaxed).saturating_sub(dice.below(LATEST) as u64)
    }

    fn act(&self, dice: &mut Dice) -> Result<()> {
        let House { library, slot, token, .. } = &self.house;
        let (session, object) = (self.one_of_the_latest(dice), self.one_of_the_latest(dice));
        let cmac = || Some(plain(MechanismType::AES_CMAC));
        match dice.below(19) {
            0 | 1 => library.open_session(*slot, READ_WRITE).map(|session| self.made(session)),
            2 => library.open_session(*slot, READ_ONLY).map(|session| self.made(session)),
            3 => library.close_session(session),
            4 if dice.below(20) > 0 => library.session_info(session).map(drop),
            4 => library.close_all_sessions(*slot),
            5 => library.init_token(*slot, &pin(SO_PIN), [b'x'; 32]).map(|()| token.set_user_pin(USER_PIN)),
            6 | 7 => library.login(session, USER, &pin(USER_PIN)),
            8 => library.login(session, SO, &pin(SO_PIN)),
            9 => library.logout(session),
            10 => library.login(session, CONTEXT_SPECIFIC, &pin(USER_PIN)),
            11 => library.create_object(session, template(&[])).map(|object| self.made(object)),
            12 => {
                let flags = [AttributeType::PRIVATE, AttributeType::ALWAYS_AUTHENTICATE];
                library.create_object(session, template(&flags)).map(|object| self.made(object))
            }
            13 => library.destroy_object(session, object),
            14 => library.sign_init(session, cmac(), object),
            15 => library.sign(session, b"abc", Output::Buffer(&mut [0; 8])).map(drop),
            16 => library.find_objects_init(session, Template::new()),
            17 => library.find_objects(session, dice.below(4)).map(drop),
            _ => library.slot_list(true, true).map(drop),
        }
    }
}

/// Makes so many random calls. Returns how many succeeded.
fn work(shared: &Shared, seed: u64) -> usize {
    let mut dice = Dice(seed);
    let succeeded = |call: &usize| match shared.act(&mut dice) {
        Ok(()) => true,
        Err(error) => {
            assert!(error.code().level() > Level::Error, "thread {seed}, call {call}: {error:?}");
            false
        }
    };
    (0..CALLS).filter(succeeded).count()
}

#[test]
fn threads_that_do_everything_at_once_leave_nothing_behind() {
    let shared = Shared { house: House::new(), latest: AtomicU64::new(0) };
    let succeeded: Vec<usize> = std::thread::scope(|scope| {
        let shared = &shared;
        let workers: Vec<_> = (1..=4).map(|seed| scope.spawn(move || work(shared, seed))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert!(succeeded.iter().all(|count| *count > CALLS / 10), "the threads were at work: {succeeded:?}");
    let house = &shared.house;
    house.library.close_all_sessions(house.slot).unwrap();
    assert_eq!((house.token.login_count(), house.token.object_count()), (0, 0));
    assert_eq!(house.library.objects.len(), 0);
    assert!(!house.library.slots.get(house.slot).unwrap().has_sessions());
    let session = house.open(READ_ONLY);
    assert_eq!(house.library.session_info(session).unwrap().state, 0);
}
