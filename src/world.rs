//! Time and randomness: what a simulation replaces.
//!
//! Knows: error, sys.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::Result;
use crate::sys::awslc::random;

/// The world outside the process, as far as decisions depend on it.
pub trait World: Send + Sync {
    /// Wall-clock time since the Unix epoch.
    fn now(&self) -> Duration;
    /// Time that never jumps, since some moment of this process.
    fn elapsed(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }
    /// Waits.
    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
    /// Fills the slice with random bytes that are fit for keys.
    fn fill_random(&self, out: &mut [u8]) -> Result<()>;
}

/// This machine's clock and the crypto library's generator.
pub struct Real;

impl World for Real {
    fn now(&self) -> Duration {
        // A clock set before 1970 counts as 1970.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn fill_random(&self, out: &mut [u8]) -> Result<()> {
        random::fill(out)
    }
}

/// The UTC time of a Unix time as PKCS#11 writes it: `YYYYMMDDhhmmss00` (proleptic Gregorian calendar; the year modulo 10,000).
pub fn utc_time(seconds: u64) -> [u8; 16] {
    let of_day = seconds % 86_400;
    let time = of_day / 3600 * 10_000 + of_day / 60 % 60 * 100 + of_day % 60;
    let number = u128::from(date(seconds / 86_400)) * 100_000_000 + u128::from(time) * 100;
    std::array::from_fn(|at| b'0' + ((number / 10_u128.pow(15 - at as u32)) % 10) as u8)
}

/// The date of a day since 1970 as the number `YYYYMMDD`.
fn date(days_since_1970: u64) -> u64 {
    // Days are counted from 1 March 0000, so that the leap day is the last of its year.
    let days = days_since_1970 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = (year_of_era + era * 400 + u64::from(month <= 2)) % 10_000;
    year * 10_000 + month * 100 + day
}

#[cfg(test)]
mod tests {
    use super::utc_time;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, b"1970010100000000"),
            (951_782_400, b"2000022900000000"),
            (1_709_164_800, b"2024022900000000"),
            (1_709_251_199, b"2024022923595900"),
            (1_709_251_200, b"2024030100000000"),
            (4_102_444_799, b"2099123123595900"),
        ] {
            assert_eq!(&utc_time(seconds), expected, "{seconds}");
        }
    }
}
