//! Events posted to URLs, as JSON. Each receiver has a thread, which follows the events as anybody else would: a dead receiver keeps nobody
//! waiting, gets what is still kept when it is back, and what it has missed is counted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::events::Event;
use super::server::Server;
use crate::error::{Code, Doing, Result, refuse};

/// How long a receiver may take for one event.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a first failure; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often a thread looks whether it is to end.
const BREATH: Duration = Duration::from_millis(500);

/// The threads that post.
pub struct Webhooks {
    stops: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What came of one attempt.
enum Posted {
    Taken,
    /// Asking again will not help: the event is given up.
    Refused,
    /// Perhaps later.
    NotNow,
}

impl Webhooks {
    /// A thread for each URL. Errors: `Configuration`: the authorities cannot be read, and a URL needs them.
    pub fn start(urls: &[String], authorities: &Path, server: &Arc<Server>) -> Result<Self> {
        let mut webhooks = Self { stops: Arc::default(), threads: Mutex::default() };
        for url in urls {
            let agent = agent(url, authorities)?;
            let (url, server, stop) = (url.clone(), server.clone(), webhooks.stops.clone());
            let work = move || follow(&agent, &url, &server, &stop);
            let thread = std::thread::Builder::new().name("webhook".into()).spawn(work);
            webhooks.threads.get_mut().push(thread.doing(Code::HostMemory, "cannot start a thread")?);
        }
        Ok(webhooks)
    }

    /// Lets the threads end, each after what it is about: at most the patience with a receiver.
    pub fn stop(&self) {
        self.stops.store(true, Ordering::Release);
        for thread in self.threads.lock().drain(..) {
            // What it panicked of was printed.
            let _ = thread.join();
        }
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        self.stop();
    }
}

fn agent(url: &str, authorities: &Path) -> Result<Agent> {
    let config = Agent::config_builder().timeout_global(Some(PATIENCE)).max_redirects(0).http_status_as_error(false);
    let config = config.user_agent(concat!("hsmpoold/", env!("CARGO_PKG_VERSION")));
    let config = match url.starts_with("https:") {
        false => config,
        true => {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let roots = RootCerts::new_with_certs(&read_authorities(authorities)?);
            let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider).root_certs(roots);
            config.tls_config(tls.build())
        }
    };
    Ok(config.build().into())
}

fn read_authorities(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let doing = || format!("webhook_ca: reading {}", file.display());
    let text = std::fs::read(file).doing(Code::Configuration, doing())?;
    let certificates = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    match certificates.is_empty() {
        true => Err(refuse(Code::Configuration, format!("webhook_ca: {} holds no certificate", file.display()))),
        false => Ok(certificates),
    }
}

fn follow(agent: &Agent, url: &str, server: &Server, stop: &AtomicBool) {
    let mut seen = 0;
    while !stop.load(Ordering::Acquire) {
        let Some(event) = server.events().after(seen, BREATH).into_iter().next() else { continue };
        server.metrics().posted(0, event.number - seen - 1);
        match deliver(agent, url, server, &event, stop) {
            Posted::Taken => server.metrics().posted(1, 0),
            Posted::Refused => server.metrics().posted(0, 1),
            // Dropped meanwhile, as newer ones came: the next round counts it.
            Posted::NotNow => continue,
        }
        seen = event.number;
    }
}

/// Tries until it is taken or refused, or no longer kept.
fn deliver(agent: &Agent, url: &str, server: &Server, event: &Event, stop: &AtomicBool) -> Posted {
    let health = server.health();
    let body = event.to_json(health.node, &health.zone).to_string();
    let mut pause = PAUSE_FIRST;
    loop {
        match post(agent, url, &body) {
            Posted::NotNow => {}
            done => return done,
        }
        let mut left = pause;
        while !left.is_zero() {
            if stop.load(Ordering::Acquire) || server.events().dropped() >= event.number {
                return Posted::NotNow;
            }
            let breath = left.min(BREATH);
            std::thread::sleep(breath);
            left -= breath;
        }
        pause = PAUSE_MAX.min(pause * 2);
    }
}

fn post(agent: &Agent, url: &str, body: &str) -> Posted {
    match agent.post(url).content_type("application/json").send(body) {
        Ok(answer) => match answer.status().as_u16() {
            200..=299 => Posted::Taken,
            // Too slow, too many: it says so itself.
            408 | 429 => Posted::NotNow,
            300..=499 => Posted::Refused,
            _ => Posted::NotNow,
        },
        Err(_) => Posted::NotNow,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Method, path and body of one request, which is answered with this number.
    fn answered(http: &TcpListener, status: u16) -> String {
        let (mut stream, _) = http.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut first, mut len) = (String::new(), 0);
        reader.read_line(&mut first).unwrap();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            match line.trim_end().to_ascii_lowercase().split_once(": ") {
                None => break,
                Some(("content-length", value)) => len = value.parse().unwrap(),
                Some(_) => {}
            }
        }
        let mut body = vec![0; len];
        reader.read_exact(&mut body).unwrap();
        write!(stream, "HTTP/1.1 {status} said\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        format!("{}{}", first.trim_end().trim_end_matches("HTTP/1.1"), String::from_utf8(body).unwrap())
    }

    /// What a receiver that answers with these numbers, one after the other, makes of as many attempts.
    fn received(statuses: &[u16]) -> (Vec<bool>, Vec<String>) {
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", http.local_addr().unwrap());
        let agent = agent(&url, Path::new("/nowhere")).unwrap();
        std::thread::scope(|threads| {
            let answering = threads.spawn(|| statuses.iter().map(|status| answered(&http, *status)).collect());
            let taken = statuses.iter().map(|_| matches!(post(&agent, &url, "{\"number\":1}"), Posted::Taken)).collect();
            (taken, answering.join().unwrap())
        })
    }

    #[test]
    fn an_event_is_posted_as_json_and_taken_by_what_answers_well() {
        let (taken, bodies) = received(&[200, 204, 500, 404, 302]);
        assert_eq!(taken, [true, true, false, false, false]);
        assert!(bodies.iter().all(|body| body == "POST /hook {\"number\":1}"), "{bodies:?}");
    }

    #[test]
    fn a_receiver_that_is_not_there_is_tried_later_and_a_wrong_file_is_named() {
        let agent = agent("http://127.0.0.1:1/", Path::new("/nowhere")).unwrap();
        assert!(matches!(post(&agent, "http://127.0.0.1:1/", "{}"), Posted::NotNow));
        let error = super::agent("https://localhost/", Path::new("/nowhere")).unwrap_err();
        assert!(error.to_string().contains("webhook_ca"), "{error}");
    }
}
