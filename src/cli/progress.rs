//! Long work is followed on the terminal: one line on standard error that says what is waited for, and since when.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often the line is drawn anew; work that is done before the first time shows none.
const BEAT: Duration = Duration::from_millis(250);

/// The line. It is gone when this is dropped, and there is none where standard error is no terminal.
#[derive(Default)]
pub(super) struct Progress {
    line: Arc<Mutex<Line>>,
    /// The drawing thread ends when this is dropped.
    _drawn: Option<Sender<()>>,
}

#[derive(Default)]
struct Line {
    /// What is waited for, and since when.
    what: Option<(String, Instant)>,
    is_shown: bool,
}

impl Progress {
    /// On the terminal, if there is one.
    pub(super) fn shown() -> Self {
        let line = Arc::<Mutex<Line>>::default();
        if !std::io::stderr().is_terminal() {
            return Self { line, _drawn: None };
        }
        let (sender, receiver) = channel::<()>();
        let drawn = line.clone();
        let draw = move || {
            while receiver.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                drawn.lock().draw();
            }
        };
        // Without a thread there is no line, and the work goes on.
        let thread = std::thread::Builder::new().name("progress".into()).spawn(draw);
        Self { line, _drawn: thread.is_ok().then_some(sender) }
    }

    /// Something else is waited for from now on; the same again changes nothing.
    pub(super) fn now(&self, what: &str) {
        let mut line = self.line.lock();
        let since = line.what.as_ref().filter(|(known, _)| known.split(':').next() == what.split(':').next());
        let since = since.map_or_else(Instant::now, |(_, since)| *since);
        line.what = Some((what.to_string(), since));
    }

    /// Nothing is waited for: the line is wiped before this returns.
    pub(super) fn rest(&self) {
        let mut line = self.line.lock();
        line.what = None;
        line.wipe();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.rest();
    }
}

impl Line {
    fn draw(&mut self) {
        let Some((what, since)) = &self.what else { return };
        let seconds = since.elapsed().as_secs();
        // A terminal that is gone is no reason to end the work.
        let _ = write!(std::io::stderr(), "\r\x1b[K{what} … {seconds} s");
        self.is_shown = true;
    }

    fn wipe(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
