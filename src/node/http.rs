//! As much of HTTP as a port for watchers needs: GET and HEAD, one request a connection. Each connection has a thread of its own, and whatever it sends or
//! does not, it has it for a bounded time: a body is never waited for.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::limits::{WATCHER_HEAD_MAX_BYTES, WATCHERS_MAX};
use crate::sys::process::Unshared;
use crate::sys::socket;

/// Within this time a connection has said what it wants.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// A watcher that takes nothing for so long is gone.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// For so long what else a watcher sends is read and dropped, so that closing does not take the answer from it.
const LINGER: Duration = Duration::from_secs(1);
/// At the stop, answers go out for so long; then connections are cut, and their threads have as long to end.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// The pause after a connection could not be taken: descriptors may come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const STACK_BYTES: usize = 1 << 20;
/// A watcher sends a handful.
const HEADERS_MAX: usize = 64;

/// Answers to what is asked, onto the connection.
type Answer = dyn Fn(&Asked<'_>, &mut dyn Write) -> io::Result<()> + Send + Sync;

/// What a watcher asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Without what stands behind a `?`.
    pub path: &'a str,
    /// What stands behind it, as it came.
    pub query: &'a str,
    /// Whether the answer's body is wanted, or its head alone.
    pub with_body: bool,
}

impl Asked<'_> {
    /// A whole answer, after which the connection ends. A head tells of the body as if it came.
    pub fn respond(&self, to: &mut dyn Write, status: u16, kind: &str, body: &str) -> io::Result<()> {
        let (reason, len) = (reason(status), body.len());
        // Whoever asks in another way is to be told the right ones (RFC 9110, 15.5.6).
        let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        let mut answer = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n{allow}Connection: close\r\n\r\n"
        );
        if self.with_body {
            answer += body;
        }
        to.write_all(answer.as_bytes())
    }
}

/// A listening socket with its connections.
pub struct Http {
    shared: Arc<Shared>,
    listener: Unshared<TcpListener>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    answer: Box<Answer>,
    stops: AtomicBool,
    connections: Mutex<HashMap<u64, Arc<Unshared<TcpStream>>>>,
    ended: Condvar,
    next: AtomicU64,
}

impl Http {
    /// Listens. `answer` is called on the connection's thread.
    pub fn listen(
        address: &str,
        answer: impl Fn(&Asked<'_>, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        // A child that kept it would keep the port.
        let listener = Unshared::new(TcpListener::bind(address)?);
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            stops: AtomicBool::new(false),
            connections: Mutex::default(),
            ended: Condvar::new(),
            next: AtomicU64::new(0),
        });
        let (accepts, of_thread) = (Unshared::new(listener.try_clone()?), shared.clone());
        let work = move || {
            while !of_thread.stops.load(Ordering::Acquire) {
                match accepts.accept() {
                    Ok((stream, _)) => of_thread.begin(stream),
                    Err(_) => std::thread::sleep(ACCEPT_PAUSE),
                }
            }
        };
        let accepting = Some(std::thread::Builder::new().name("operations".into()).spawn(work)?);
        Ok(Self { shared, listener, accepting })
    }

    /// Where it listens: the port, when 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::Release);
        socket::stop_listening(self.listener.as_raw_fd());
        if let Some(accepting) = self.accepting.take() {
            // What it panicked of was printed.
            let _ = accepting.join();
        }
        if !self.shared.have_ended(STOP_PATIENCE) {
            for stream in self.shared.connections.lock().values() {
                // It is cut already, then.
                let _ = stream.shutdown(Shutdown::Both);
            }
            self.shared.have_ended(STOP_PATIENCE);
        }
    }
}

impl Shared {
    /// Begins a connection, if there is room for one more.
    fn begin(self: &Arc<Self>, stream: TcpStream) {
        let (stream, number) = (Arc::new(Unshared::new(stream)), self.next.fetch_add(1, Ordering::Relaxed));
        {
            let mut connections = self.connections.lock();
            if connections.len() >= WATCHERS_MAX {
                return;
            }
            connections.insert(number, stream.clone());
        }
        let shared = self.clone();
        let work = move || {
            let _ended = Ended { shared: &shared, number };
            // A watcher that goes away while it is answered is no trouble of ours.
            let _ = shared.converse(&stream);
        };
        let begun = std::thread::Builder::new().name("watcher".into()).stack_size(STACK_BYTES).spawn(work);
        if begun.is_err() {
            self.connections.lock().remove(&number);
        }
    }

    fn converse(&self, stream: &TcpStream) -> io::Result<()> {
        let mut to = stream;
        stream.set_write_timeout(Some(WRITE_PATIENCE))?;
        match wanted(&read_head(stream)?) {
            Ok(asked) => (self.answer)(&asked, &mut to)?,
            Err((status, told)) => NOTHING.respond(&mut to, status, TEXT, told)?,
        }
        to.flush()?;
        linger(stream)
    }

    /// Whether all connections end within this time.
    fn have_ended(&self, patience: Duration) -> bool {
        let mut connections = self.connections.lock();
        !self.ended.wait_while_for(&mut connections, |connections| !connections.is_empty(), patience).timed_out()
    }
}

/// Counts a connection out, however it ended.
struct Ended<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.shared.connections.lock().remove(&self.number);
        self.shared.ended.notify_all();
    }
}

/// Plain words.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// Stands for a request that cannot be read.
const NOTHING: Asked<'_> = Asked { path: "", query: "", with_body: true };

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

/// Request line and headers, as far as they came before their end or their limit. Errors: they take too long, or the connection ended.
fn read_head(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let (deadline, mut head, mut piece) = (Instant::now() + HEAD_PATIENCE, Vec::new(), [0; 1024]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < WATCHER_HEAD_MAX_BYTES {
        read_until(stream, deadline)?;
        match stream.read(&mut piece)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            len => head.extend_from_slice(&piece[..len]),
        }
    }
    Ok(head)
}

/// The next read waits until then at most.
fn read_until(stream: &TcpStream, deadline: Instant) -> io::Result<()> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => stream.set_read_timeout(Some(left)),
    }
}

/// What is asked for, or the status and words of what is wrong.
fn wanted(head: &[u8]) -> Result<Asked<'_>, (u16, &'static str)> {
    const NO_REQUEST: (u16, &str) = (400, "no request of HTTP/1\n");
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err((400, "the request's headers are too long\n"));
        }
        Err(_) => return Err(NO_REQUEST),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else { return Err(NO_REQUEST) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match method {
        "GET" | "HEAD" => Ok(Asked { path, query, with_body: method == "GET" }),
        _ => Err((405, "only GET and HEAD\n")),
    }
}

/// Says that no more comes, and takes what the other side has sent meanwhile: closing over it would break the connection under the answer.
fn linger(mut stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    let (deadline, mut left, mut piece) = (Instant::now() + LINGER, WATCHER_HEAD_MAX_BYTES, [0; 1024]);
    while left > 0 {
        read_until(stream, deadline)?;
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            len => left = left.saturating_sub(len),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http() -> (Http, SocketAddr) {
        let http = Http::listen("127.0.0.1:0", |asked, to| asked.respond(to, 200, TEXT, asked.path)).unwrap();
        let address = http.address().unwrap();
        (http, address)
    }

    /// All that is answered to these bytes.
    fn said(address: SocketAddr, sent: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(sent).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_request_is_answered_and_nonsense_refused() {
        let (_http, address) = http();
        let long = [b"GET /live HTTP/1.1\r\nX: ".as_slice(), &vec![b'x'; WATCHER_HEAD_MAX_BYTES]].concat();
        for (sent, status, end) in [
            (b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(), "200 OK", "/live"),
            (b"GET /ready HTTP/1.0\r\n\r\n", "200 OK", "/ready"),
            (b"GET /live?probe=1 HTTP/1.1\r\n\r\n", "200 OK", "\r\n\r\n/live"),
            (b"GET /live? HTTP/1.1\r\n\r\n", "200 OK", "\r\n\r\n/live"),
            (b"GET /live??/a?b HTTP/1.1\r\n\r\n", "200 OK", "\r\n\r\n/live"),
            (b"GET ?/live HTTP/1.1\r\n\r\n", "200 OK", "\r\n\r\n"),
            (b"HEAD /live HTTP/1.1\r\n\r\n", "200 OK", "\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"),
            (b"POST /live HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405 Method Not Allowed", "\r\n\r\nonly GET and HEAD\n"),
            (b"head /live HTTP/1.1\r\n\r\n", "405 Method Not Allowed", "only GET and HEAD\n"),
            (b"GET  /live HTTP/1.1\r\n\r\n", "400 Bad Request", "no request of HTTP/1\n"),
            (b"GET /live HTTP/2.0\r\n\r\n", "400 Bad Request", "no request of HTTP/1\n"),
            (b"\xff\xfe\r\n\r\n", "400 Bad Request", "no request of HTTP/1\n"),
            (&long, "400 Bad Request", "the request's headers are too long\n"),
        ] {
            let answer = said(address, sent);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")) && answer.ends_with(end), "{sent:.60?}: {answer}");
        }
    }

    #[test]
    fn who_asks_in_a_way_that_is_not_taken_is_told_which_are() {
        let (_http, address) = http();
        assert!(said(address, b"DELETE /live HTTP/1.1\r\n\r\n").contains("\r\nAllow: GET, HEAD\r\n"));
        assert!(!said(address, b"GET /live HTTP/1.1\r\n\r\n").contains("Allow"));
    }

    #[test]
    fn a_body_that_never_comes_and_a_head_that_never_ends_keep_nobody_waiting() {
        let (http, address) = http();
        let hold = |sent: &[u8]| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(sent).unwrap();
            stream
        };
        let body = hold(b"GET /live HTTP/1.1\r\nContent-Length: 2000\r\n\r\n");
        let expects = hold(b"GET /live HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2000\r\n\r\n");
        let held = [hold(b"GET /live HT"), hold(b""), body, expects];
        let begun = Instant::now();
        assert!(said(address, b"GET /live HTTP/1.1\r\n\r\n").ends_with("/live"));
        assert!(begun.elapsed() < LINGER, "{:?}", begun.elapsed());
        let mut answer = String::new();
        (&held[2]).read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("/live"), "answered without its body: {answer}");
        let begun = Instant::now();
        drop(http);
        assert!(begun.elapsed() < 3 * STOP_PATIENCE, "{:?}", begun.elapsed());
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    }

    #[test]
    fn one_more_than_there_may_be_is_closed_and_the_next_one_is_taken_when_there_is_room() {
        let (http, address) = http();
        let held: Vec<TcpStream> = (0..WATCHERS_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
        let full = Instant::now() + Duration::from_secs(4);
        while http.shared.connections.lock().len() < WATCHERS_MAX {
            assert!(Instant::now() < full, "all are taken");
            std::thread::sleep(ACCEPT_PAUSE);
        }
        let mut refused = TcpStream::connect(address).unwrap();
        // It ends, or is reset.
        assert_eq!(refused.read(&mut [0; 1]).unwrap_or_default(), 0);
        drop(held);
        assert!(http.shared.have_ended(Duration::from_secs(20)));
        assert!(said(address, b"GET /live HTTP/1.1\r\n\r\n").ends_with("/live"));
    }
}
