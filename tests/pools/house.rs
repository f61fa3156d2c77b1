//! A pool of three nodes over one store, and applications in front of it: shared by the programs that test a pool in one process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hsmpool::ck::{AttributeType, KeyType, MechanismType, ObjectClass};
use hsmpool::log::{Log, Solo};
use hsmpool::mechanism::{Mechanism, Params};
use hsmpool::node::{Caller, Server, Standing};
use hsmpool::object::policy::Policy;
use hsmpool::object::{Template, Value};
use hsmpool::partition::{Partition, RootKeySource, Settings, load_root_key};
use hsmpool::pool::{Link, Place, Pool, PooledAdmin, View};
use hsmpool::secret::Secret;
use hsmpool::store::Store;
use hsmpool::token::{Access, Admin, Role, Scope, Token};
use hsmpool::world::{Real, World};

use crate::faults::{FaultyLink, Network};

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
        let directory = new_directory();
        Self::over(directory, seed, policy)
    }

    /// The same over a store that may be there already, which is removed in the end.
    pub fn over(directory: PathBuf, seed: u64, policy: Policy) -> Self {
        let servers: Vec<_> = (0..3).map(|node| server(&directory, node, policy)).collect();
        let network = Network::new(seed);
        let admin = client(&servers, &network, caller("app"));
        Self { network, servers, admin, directory }
    }

    /// Another application of the same pool, behind the same network.
    pub fn other(&self, name: &str) -> PooledAdmin {
        client(&self.servers, &self.network, caller(name))
    }

    /// An application whose certificate names the tokens that it may see.
    pub fn restricted(&self, tokens: &[&str]) -> PooledAdmin {
        let tokens = Some(tokens.iter().map(|token| (*token).to_string()).collect());
        client(&self.servers, &self.network, Caller { name: Arc::from("restricted"), tokens, operates: false })
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

/// A directory that nobody else has.
pub fn new_directory() -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("hsmpool-house-{}-{number}", std::process::id()))
}

/// A partition over a store, and its log.
pub fn partition(directory: &Path, policy: Policy, tickets: bool) -> (Arc<Partition>, Arc<dyn Log>) {
    let world: Arc<dyn World> = Arc::new(Real);
    let store = Arc::new(Store::open(directory).unwrap());
    let is_new = store.tokens().unwrap().is_empty();
    let root_key = load_root_key(&RootKeySource::File(directory.join("hsmpool.key")), is_new, &*world).unwrap();
    let log: Arc<dyn Log> = Arc::new(Solo::new(store.clone()));
    let settings = Settings { pin_attempts_max: 3, policy, root_key, tickets };
    (Partition::new(store, log.clone(), world, settings).unwrap(), log)
}

fn server(directory: &Path, node: u64, policy: Policy) -> Arc<Server> {
    let (partition, log) = partition(directory, policy, true);
    let standing = Standing { node, zone: zone(node) };
    Arc::new(Server::new(partition, log, Arc::new(Real), standing, Box::new(|| Some(0))))
}

fn zone(node: u64) -> String {
    ["a", "b", "c"][node as usize].to_string()
}

/// A client of this name.
pub fn caller(name: &str) -> Caller {
    Caller { name: Arc::from(name), tokens: None, operates: name == "operator" }
}

fn client(servers: &[Arc<Server>], network: &Arc<Network>, caller: Caller) -> PooledAdmin {
    behind(Box::new(FaultyLink { network: network.clone(), servers: servers.to_vec(), caller }))
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

pub fn ec_pair(token: bool) -> (Template, Template) {
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let public = Template::from_iter([
        (AttributeType::TOKEN, Value::Bool(token)),
        (AttributeType::EC_PARAMS, Value::Bytes(P256.to_vec())),
        (AttributeType::VERIFY, Value::Bool(true)),
    ]);
    let private = Template::from_iter([
        (AttributeType::TOKEN, Value::Bool(token)),
        (AttributeType::PRIVATE, Value::Bool(true)),
        (AttributeType::SIGN, Value::Bool(true)),
    ]);
    (public, private)
}
