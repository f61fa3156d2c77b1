//! A line between two links that can be made long: a process that carries frames from one to the other, so much later.
//!
//! The kernel's own delay (`netem`) is not everywhere; links whose other end is a file are.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::work::READY;
use crate::error::{Code, Doing, Result, refuse};
use crate::sys::tap;

/// The hidden command that is a line.
pub const LINE: &str = "chaos-line";
/// The longest frame, with room for a tag.
const FRAME_MAX_BYTES: usize = 1 << 16;
/// Frames under way in one direction; more are lost, as in a router.
const UNDER_WAY_MAX: usize = 8192;

/// The two links of a line.
#[derive(clap::Args)]
pub struct Arguments {
    /// One end
    near: String,
    /// The other
    far: String,
}

/// Makes the links, says so, and carries frames until its input ends. Each line of it says by how many milliseconds they are late from then on.
pub fn run(arguments: &Arguments) -> Result<()> {
    let late = Arc::new(AtomicU64::new(0));
    let link = |name: &str| {
        tap::create(name).doing(Code::Configuration, format!("making the link {name}, which needs root and {}", tap::DEVICE))
    };
    let (near, far) = (link(&arguments.near)?, link(&arguments.far)?);
    for (from, to) in [(&near, &far), (&far, &near)] {
        let copy = |file: &File| file.try_clone().doing(Code::HostMemory, "opening a link twice");
        carry(copy(from)?, copy(to)?, late.clone());
    }
    println!("{READY}");
    for line in io::stdin().lock().lines() {
        let line = line.doing(Code::DeviceError, "hearing how late frames are")?;
        let milliseconds = line.trim().parse().doing(Code::ArgumentsBad, format!("{line:?} is no number of milliseconds"))?;
        late.store(milliseconds, Ordering::Relaxed);
    }
    Ok(())
}

/// Carries frames one way, on two threads that end with the process. A link that is down takes no frame: that one is lost.
fn carry(mut from: File, to: File, late: Arc<AtomicU64>) {
    let (send, frames) = sync_channel(UNDER_WAY_MAX);
    thread::spawn(move || {
        let mut frame = vec![0; FRAME_MAX_BYTES];
        loop {
            match from.read(&mut frame) {
                Ok(len) => {
                    let due = Instant::now() + Duration::from_millis(late.load(Ordering::Relaxed));
                    let _ = send.try_send((due, frame[..len].to_vec()));
                }
                // It is not up yet, or no more.
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    });
    thread::spawn(move || deliver(&frames, to));
}

fn deliver(frames: &Receiver<(Instant, Vec<u8>)>, mut to: impl Write) {
    while let Ok((due, frame)) = frames.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let _ = to.write_all(&frame);
    }
}

/// A running line. It ends when it is dropped, and its links with it.
pub struct Line {
    child: Child,
    control: ChildStdin,
}

impl Line {
    /// Starts one; `command` runs a program where the links are to be. When this returns they are there.
    pub fn start(command: impl FnOnce(&Path) -> Result<Command>, near: &str, far: &str) -> Result<Self> {
        let program = std::env::current_exe().doing(Code::Configuration, "finding this program")?;
        let mut command = command(&program)?;
        command.args([LINE, near, far]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().doing(Code::Configuration, "starting a line between zones")?;
        let (Some(control), Some(said)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(refuse(Code::HostMemory, "a line between zones has no input"));
        };
        let started = Self { child, control };
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line).doing(Code::DeviceError, "waiting for a line between zones")?;
        match line.trim() == READY {
            true => Ok(started),
            false => Err(refuse(Code::Configuration, "a line between zones did not start; it has said why")),
        }
    }

    /// From now on frames are so late, each way.
    pub fn is_late(&mut self, late: Duration) -> Result<()> {
        writeln!(self.control, "{}", late.as_millis()).doing(Code::DeviceError, "telling a line how late it is")
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after the wait.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_in_their_order_when_they_are_due() {
        let (send, frames) = sync_channel(8);
        let begun = Instant::now();
        for (late, frame) in [(60, b"one "), (0, b"two ")] {
            send.send((begun + Duration::from_millis(late), frame.to_vec())).unwrap();
        }
        drop(send);
        let mut out = Vec::new();
        deliver(&frames, &mut out);
        assert_eq!(out, b"one two ");
        assert!(begun.elapsed() >= Duration::from_millis(60));
    }
}
