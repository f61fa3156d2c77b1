//! Modules and nodes of different versions: what one does not know of the other is skipped, or refused in words.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hsmpool::ck::{AttributeType, Rv};
use hsmpool::error::Code;
use hsmpool::node::Server;
use hsmpool::object::Template;
use hsmpool::pool::{Failure, Link};
use hsmpool::secret::Secret;
use hsmpool::token::message::{Answer, Ask, FRAME_KIND, Refusal, Reply, Request, Verdict, Who, decode, encode};
use hsmpool::token::{Access, Admin, Scope};
use hsmpool::wire::{Address, Connection, Conversation, Hello, Listener, Peer, Purpose, Service};

use crate::house::{House, behind, caller};

/// A request of today about no token.
fn request(ask: Ask) -> Request {
    Request::new(None, Who::from(&Access::public(Scope([3; 16]), false)), 0, ask)
}

/// Its fields one by one, in the order of their numbers: a request is an array of them.
fn fields(request: &Request) -> Vec<Vec<u8>> {
    let bytes = encode(request);
    let mut decoder = minicbor::Decoder::new(bytes.expose());
    let count = decoder.array().unwrap().unwrap();
    let mut field = || {
        let begin = decoder.position();
        decoder.skip().unwrap();
        bytes.expose()[begin..decoder.position()].to_vec()
    };
    (0..count).map(|_| field()).collect()
}

fn array(fields: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    minicbor::Encoder::new(&mut bytes).array(fields.len() as u64).unwrap();
    bytes.extend(fields.concat());
    bytes
}

fn verdict(server: &Server, request: &[u8]) -> Verdict {
    decode::<Answer>(server.answer(&caller("app"), request).expose()).expect("an answer").verdict
}

#[test]
fn requests_with_fewer_or_more_fields_than_are_known_are_understood() {
    let house = House::new(100);
    house.token();
    let today = fields(&request(Ask::Tokens));
    // The first version had seven fields.
    for count in 7..=today.len() {
        let Verdict::Done(Reply::Tokens(tokens)) = verdict(&house.servers[0], &array(&today[..count])) else {
            panic!("{count} fields")
        };
        assert_eq!(tokens.len(), 1);
    }
    let mut later = today.clone();
    // Far behind the last one that is known today: nulls, then what a later version says.
    later.resize(30, vec![0xf6]);
    later.extend([vec![0x63, b'n', b'e', b'w'], vec![0x82, 1, 0x81, 2]]);
    assert!(matches!(verdict(&house.servers[0], &array(&later)), Verdict::Done(Reply::Tokens(_))));
}

#[test]
fn a_verb_of_a_later_version_is_refused_by_name_and_the_node_goes_on() {
    let house = House::new(101);
    let mut later = fields(&request(Ask::Tokens));
    // [99, []]: variant 99, without fields.
    later[6] = vec![0x82, 0x18, 99, 0x80];
    let Verdict::Refused(Refusal { code, told }) = verdict(&house.servers[0], &array(&later)) else { panic!("it is refused") };
    assert_eq!(code, Rv::FUNCTION_NOT_SUPPORTED);
    assert!(told.contains("later version") && told.contains("node 0"), "{told}");
    for broken in [&b""[..], &[0xff; 40], &array(&fields(&request(Ask::Tokens)))[..20]] {
        let Verdict::Refused(Refusal { code, .. }) = verdict(&house.servers[0], broken) else { panic!("it is refused") };
        assert_eq!(code, Rv::DEVICE_ERROR);
    }
    assert!(matches!(verdict(&house.servers[0], encode(&request(Ask::Tokens)).expose()), Verdict::Done(_)));
}

/// Nodes of which some are of a version that does not know what is asked for.
struct Upgrading {
    servers: Vec<Arc<Server>>,
    older: Arc<[AtomicBool; 3]>,
    refused: Arc<AtomicUsize>,
}

impl Link for Upgrading {
    fn call(&self, node: usize, request: &[u8], _patience: Duration) -> Result<Secret, Failure> {
        if !self.older[node].load(Ordering::Relaxed) {
            return Ok(self.servers[node].answer(&caller("app"), request));
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        let refusal = Refusal { code: Rv::FUNCTION_NOT_SUPPORTED, told: "a later version".to_string() };
        Ok(encode(&Answer { mark: 0, ticket: None, verdict: Verdict::Refused(refusal), isolated: None, epoch: None }))
    }
}

#[test]
fn in_a_pool_that_is_being_upgraded_the_newer_nodes_are_found_and_without_one_the_call_says_so_at_once() {
    let house = House::new(102);
    let (token, _) = house.token();
    let (older, refused) = (Arc::new([true, true, false].map(AtomicBool::new)), Arc::new(AtomicUsize::new(0)));
    let link = Upgrading { servers: house.servers.clone(), older: older.clone(), refused: refused.clone() };
    let upgrading = behind(Box::new(link));
    for _ in 0..5 {
        assert_eq!(upgrading.tokens().unwrap().len(), 1);
    }
    assert!(refused.load(Ordering::Relaxed) >= 5, "the older node of the own zone is well, and asked first each time");
    older[2].store(true, Ordering::Relaxed);
    let begun = Instant::now();
    assert_eq!(upgrading.tokens().err().map(|error| error.code()), Some(Code::FunctionNotSupported));
    assert!(begun.elapsed() < Duration::from_secs(10), "it is not waited for an upgrade");
    let public = Access::public(Scope([9; 16]), false);
    assert!(token.find(&public, &Template::new()).is_ok());
    assert!(token.read(&public, hsmpool::object::ObjectId([1; 16]), &[AttributeType::LABEL]).is_err());
}

/// A node's door, without its rules of who may come in.
struct Door(Arc<Server>);

impl Service for Door {
    fn admit(&self, _: &Peer, _: Purpose) -> hsmpool::error::Result<Box<dyn Conversation>> {
        Ok(Box::new(Door(self.0.clone())))
    }
}

impl Conversation for Door {
    fn answer(&self, kind: u8, payload: &Secret) -> Option<Secret> {
        (kind == FRAME_KIND).then(|| self.0.answer(&caller("app"), payload.expose()))
    }
}

#[test]
fn modules_of_older_and_newer_versions_talk_to_a_node_where_they_have_one_in_common() {
    const PATIENCE: Duration = Duration::from_secs(20);
    let house = House::new(103);
    house.token();
    let address = Address::Unix(std::env::temp_dir().join(format!("hsmpool-versions-{}.sock", std::process::id())));
    let pool = [7; 16];
    let (hello, door) = (Hello::new(pool, Purpose::Peer, 1), Arc::new(Door(house.servers[0].clone())));
    let _listener = Listener::bind(&address, None, hello, 0o600, door).unwrap();
    // What a module speaks (oldest, newest), and whether the node, which speaks versions 1 and 2, has one in common with it.
    for (minor_oldest, minor, is_common) in [(1, 1, true), (1, 9, true), (2, 9, true), (0, 0, false), (3, 9, false), (0, 1, true)]
    {
        let hello = Hello { minor, minor_oldest, ..Hello::new(pool, Purpose::Client, 0) };
        let opened = Connection::open(&address, None, &hello, PATIENCE);
        let told = opened.as_ref().err().map(|error| format!("{error:?}")).unwrap_or_default();
        assert_eq!(opened.is_ok(), is_common, "{minor_oldest} to {minor}: {told}");
        let Ok(mut connection) = opened else {
            assert!(told.contains("no common version"), "{told}");
            continue;
        };
        let answer = connection.call(FRAME_KIND, encode(&request(Ask::Tokens)).expose(), PATIENCE);
        let answer = answer.map_err(|failure| failure.error).unwrap();
        let Verdict::Done(Reply::Tokens(tokens)) = decode::<Answer>(answer.expose()).unwrap().verdict else { panic!("tokens") };
        assert_eq!(tokens.len(), 1);
    }
}
