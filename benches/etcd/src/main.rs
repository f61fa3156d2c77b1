//! Puts to etcd by so many writers at once, each waiting for its answer: `etcd-load WRITERS MILLISECONDS ENDPOINT…`.
//! Prints the median of one put in microseconds, and puts a second.

use std::time::{Duration, Instant};

use etcd_client::{Client, Error};

/// About what a sealed key object takes.
const VALUE_BYTES: usize = 512;
/// More writers than this share connections, as etcd's own benchmark has it.
const CONNECTIONS_MAX: usize = 32;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [writers, milliseconds, endpoints @ ..] = &arguments[..] else { panic!("etcd-load WRITERS MILLISECONDS ENDPOINT…") };
    let number = |text: &String| text.parse::<usize>().unwrap_or_else(|_| panic!("{text} is no number"));
    let (writers, time) = (number(writers), Duration::from_millis(number(milliseconds) as u64));
    let mut connections = Vec::new();
    for at in 0..writers.min(CONNECTIONS_MAX) {
        connections.push(Client::connect([&endpoints[at % endpoints.len()]], None).await?);
    }
    let begun = Instant::now();
    let tasks: Vec<_> = (0..writers).map(|at| tokio::spawn(put(connections[at % connections.len()].clone(), at, begun, time))).collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("no writer panics")?);
    }
    let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
    took.sort_unstable();
    println!("{} {rate:.0}", took[took.len() / 2].as_micros());
    Ok(())
}

/// How long each put of one writer took.
async fn put(mut client: Client, writer: usize, begun: Instant, time: Duration) -> Result<Vec<Duration>, Error> {
    let mut took = Vec::new();
    while begun.elapsed() < time {
        let before = Instant::now();
        client.put(format!("{writer}/{}", took.len()), vec![7; VALUE_BYTES], None).await?;
        took.push(before.elapsed());
    }
    Ok(took)
}
