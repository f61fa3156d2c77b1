//! A clock that goes on while the machine sleeps, and is the same for all processes until the machine is started anew.

use std::time::Duration;

/// The machine's name for this life of it; `None` where the kernel does not tell.
pub fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |at: usize| std::str::from_utf8(digits.get(at..at + 2)?).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..16).map(|at| pair(2 * at)).collect();
    bytes?.try_into().ok()
}

/// Time since the machine was started, sleep included. Never jumps, never goes back.
pub fn since_boot() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours, which the call fills.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    assert_eq!(failed, 0, "Linux has this clock since 2.6.39");
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_is_the_kernels_and_never_goes_back() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let (first, second) = (super::since_boot(), super::since_boot());
        assert!(second >= first && (first.as_secs_f64() - seconds).abs() < 60.0, "{first:?} {seconds}");
        assert_eq!(super::boot_id(), super::boot_id());
    }
}
