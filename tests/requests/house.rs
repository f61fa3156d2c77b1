//! A pool of three nodes over one store, and applications in front of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hsmpool::ck::{AttributeType, KeyType, MechanismType, ObjectClass};
use hsmpool::error::{Code, refuse};
use hsmpool::log::{Log, Solo};
use hsmpool::mechanism::{Mechanism, Params};
use hsmpool::node::{Caller, Server, Standing};
use hsmpool::object::policy::Policy;
use hsmpool::object::{Template, Value};
use hsmpool::partition::{Partition, RootKeySource, Settings, load_root_key};
use hsmpool::pool::{Failure, Link, Place, Pool, PooledAdmin, View};
use hsmpool::secret::Secret;
use hsmpool::store::Store;
use hsmpool::token::{Access, Admin, Role, Scope, Token};
use hsmpool::world::{Real, World};

/// A network that loses what its dice say.
#[derive(Default)]
pub struct Network {
    rolled: AtomicU64,
    /// Of 100 requests, so many never arrive; and so many answers, whose request was carried out.
    lost: [AtomicU64; 2],
    /// Nodes that do not answer at all.
    pub dead: [AtomicBool; 3],
}

impl Network {
    pub fn lose(&self, requests: u64, answers: u64) {
        self.lost[0].store(requests, Ordering::Relaxed);
        self.lost[1].store(answers, Ordering::Relaxed);
    }

    /// SplitMix64: the same seed gives the same faults.
    fn loses(&self, what: usize) -> bool {
        let state = self.rolled.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % 100 < self.lost[what].load(Ordering::Relaxed)
    }
}

struct Lossy {
    network: Arc<Network>,
    servers: Vec<Arc<Server>>,
    caller: Caller,
}

impl Link for Lossy {
    fn call(&self, node: usize, request: &[u8], _patience: Duration) -> Result<Secret, Failure> {
        let lost = || Failure(refuse(Code::DeviceError, format!("node {node}: it was lost")));
        if self.network.dead[node].load(Ordering::Relaxed) || self.network.loses(0) {
            return Err(lost());
        }
        let answer = self.servers[node].answer(&self.caller, request);
        if self.network.loses(1) { Err(lost()) } else { Ok(answer) }
    }
}

pub struct House {
    pub network: Arc<Network>,
    pub servers: Vec<Arc<Server>>,
    pub admin: PooledAdmin,
    directory: PathBuf,
}

pub const SCOPE: Scope = Scope([7; 16]);

impl House {
    /// Three nodes whose partitions share one store: what one has applied, all have.
    pub fn new(seed: u64) -> Self {
        Self::with_policy(seed, Policy::Default)
    }

    /// The same, with another policy of new tokens.
    pub fn with_policy(seed: u64, policy: Policy) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("hsmpool-sim-{}-{number}", std::process::id()));
        let servers: Vec<_> = (0..3).map(|node| server(&directory, node, policy)).collect();
        let network = Arc::new(Network { rolled: seed.into(), ..Network::default() });
        let admin = client(&servers, &network, caller("app"));
        Self { network, servers, admin, directory }
    }

    /// Another application of the same pool, behind the same network.
    pub fn other(&self, name: &str) -> PooledAdmin {
        client(&self.servers, &self.network, caller(name))
    }

    /// A token with both PINs, and the user's login.
    pub fn token(&self) -> (Arc<dyn Token>, Access) {
        let token = self.admin.init_token(None, &pin("so-pin"), *b"pool                            ").unwrap();
        let so = token.login(&SCOPE, Role::SecurityOfficer, &pin("so-pin")).unwrap();
        token.init_pin(&so.with_write(true), &pin("user-pin")).unwrap();
        token.logout(&so).unwrap();
        let user = token.login(&SCOPE, Role::User, &pin("user-pin")).unwrap().with_write(true);
        (token, user)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn server(directory: &std::path::Path, node: u64, policy: Policy) -> Arc<Server> {
    let world: Arc<dyn World> = Arc::new(Real);
    let store = Arc::new(Store::open(directory).unwrap());
    let is_new = store.tokens().unwrap().is_empty();
    let root_key = load_root_key(&RootKeySource::File(directory.join("hsmpool.key")), is_new, &*world).unwrap();
    let log: Arc<dyn Log> = Arc::new(Solo::new(store.clone()));
    let settings = Settings { pin_attempts_max: 3, policy, root_key, tickets: true };
    let partition = Partition::new(store, log.clone(), world.clone(), settings).unwrap();
    let standing = Standing { node, zone: zone(node) };
    Arc::new(Server::new(partition, log, world, standing, Box::new(|| Some(0))))
}

fn zone(node: u64) -> String {
    ["a", "b", "c"][node as usize].to_string()
}

/// A client of this name.
pub fn caller(name: &str) -> Caller {
    Caller { name: Arc::from(name), tokens: None, operates: false }
}

fn client(servers: &[Arc<Server>], network: &Arc<Network>, caller: Caller) -> PooledAdmin {
    behind(Box::new(Lossy { network: network.clone(), servers: servers.to_vec(), caller }))
}

/// An application in zone `a`, behind this link.
pub fn behind(link: Box<dyn Link>) -> PooledAdmin {
    let places = (0..3).map(|node| Place { zone: zone(node), name: format!("node {node}") }).collect();
    PooledAdmin::new(Pool::new(View::new("a".to_string(), places), link, Arc::new(Real))).unwrap()
}

pub fn pin(text: &str) -> Secret {
    Secret::copy_of(text.as_bytes())
}

pub fn mechanism(kind: MechanismType) -> Mechanism {
    Mechanism { kind, params: Params::None }
}

pub fn aes(token: bool) -> Template {
    Template::from_iter([
        (AttributeType::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0)),
        (AttributeType::KEY_TYPE, Value::Ulong(KeyType::AES.0)),
        (AttributeType::TOKEN, Value::Bool(token)),
        (AttributeType::PRIVATE, Value::Bool(true)),
        (AttributeType::VALUE_LEN, Value::Ulong(32)),
        (AttributeType::ENCRYPT, Value::Bool(true)),
        (AttributeType::DECRYPT, Value::Bool(true)),
        (AttributeType::SIGN, Value::Bool(true)),
        (AttributeType::VERIFY, Value::Bool(true)),
    ])
}
