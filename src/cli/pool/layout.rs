//! The files of a pool as `pool create` lays them out.
//!
//! ```text
//! DIR/ca/             the authority: ca.pem, ca.key, crl.pem (what it has revoked), issued (its record)
//! DIR/root.key        the pool's root key
//! DIR/operator.pem    for the commands; with operator.key
//! DIR/client.pem      for modules; with client.key
//! DIR/pool.toml       the pool, for modules; DIR/hsmpool.toml names it
//! DIR/node1/          everything that node 1 needs: hsmpoold.toml, node.pem, node.key, ca.pem, crl.pem, hsmpool.key, data/
//! DIR/node4/          of a peer, also what its application needs: hsmpool.toml, pool.toml, client.pem, client.key
//! ```

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::cli::told::sentence;
use crate::config::PolicyName;
use crate::config::pool::{NodeFile, PoolFile, PoolId};
use crate::error::{Code, Doing, Result, refuse};
use crate::wire::Name;
use crate::wire::pki::Authority;

/// How long certificates of nodes, clients and operators are good for.
pub const CERTIFICATE_DAYS: u64 = 397;
/// Longest path of a Unix socket (`unix(7)`).
pub const SOCKET_PATH_MAX_BYTES: usize = 107;

/// Stands above the addresses of a node that is carried to its machine.
const ON_SOCKETS: &str = "# Applications of the node's own machine need no certificate over a Unix socket: put it first, \
                          \"unix:/run/hsmpool/node.sock\",\n# and name their users in [unix_users] below.\n";

/// The directory of one pool.
#[derive(Clone)]
pub struct Layout {
    /// Where it is.
    pub directory: PathBuf,
    /// The pool's id.
    pub pool: PoolId,
}

/// What a new node is told.
pub struct NewNode {
    /// Its number.
    pub number: u64,
    /// Its zone.
    pub zone: String,
    /// Where it listens for clients: host and port, besides its Unix socket; other nodes use the next port, operations the one after that.
    pub host: String,
    /// See `host`.
    pub port: u16,
    /// Policy of new tokens.
    pub policy: PolicyName,
    /// Whether its files go to another machine: there are other directories and users, so it has no Unix socket.
    pub is_carried: bool,
}

impl NewNode {
    fn place(&self, plus: u16) -> String {
        format!("{}:{}", self.host, self.port.saturating_add(plus))
    }

    /// Where clients connect.
    pub fn clients(&self) -> String {
        format!("tcp:{}", self.place(0))
    }

    /// Where other nodes connect.
    pub fn peers(&self) -> String {
        format!("tcp:{}", self.place(1))
    }

    /// Its three places, for clients, nodes and operations.
    pub fn places(&self) -> [String; 3] {
        [0, 1, 2].map(|plus| self.place(plus).to_ascii_lowercase())
    }
}

/// A node that has one of these places already, and which: two nodes at one address would be one that answers for both.
pub fn taken<'a>(places: &[String], nodes: &'a [NodeFile]) -> Option<(&'a NodeFile, String)> {
    nodes.iter().find_map(|node| {
        let listen = &node.listen;
        let addresses = listen.clients.iter().chain([&listen.peers]).chain(&listen.advertise).chain(&listen.operations);
        let mut own = addresses.map(|address| address.trim_start_matches("tcp:").to_ascii_lowercase());
        own.find(|place| places.contains(place)).map(|place| (node, place))
    })
}

impl Layout {
    /// Begins a directory. Errors: `Configuration`: it is there already and not empty, or cannot be made.
    pub fn create(directory: &Path, pool: PoolId) -> Result<Self> {
        let doing = || format!("making {}", directory.display());
        if fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(refuse(Code::Configuration, format!("{} is not empty: name a new directory", directory.display())));
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).doing(Code::Configuration, doing())?;
        let directory = directory.canonicalize().doing(Code::Configuration, doing())?;
        Ok(Self { directory, pool })
    }

    /// Takes everything away that was written since `create`, which found the directory missing or empty.
    pub fn clear(&self) {
        // Gone with all that is in it; what cannot be removed is met by the next `create`, which names it.
        let _ = fs::remove_dir_all(&self.directory);
    }

    /// Errors: `Configuration`: it is no pool's directory.
    pub fn open(directory: &Path) -> Result<Self> {
        let doing = || format!("{} is no directory of a pool (`hsmpool pool create` makes one)", directory.display());
        let directory = directory.canonicalize().doing(Code::Configuration, doing())?;
        let pool = PoolFile::read(&directory.join("pool.toml"))?.pool;
        Ok(Self { directory, pool })
    }

    /// A file or directory of the pool.
    pub fn join(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A node's directory.
    pub fn node(&self, number: u64) -> PathBuf {
        self.join(&format!("node{number}"))
    }

    /// The authority's list of revoked certificates. `None`: the pool is of a version that had none, and has revoked nothing since.
    pub fn crl(&self) -> Option<PathBuf> {
        let file = self.join("ca/crl.pem");
        let is_named =
            || PoolFile::read(&self.join("pool.toml")).is_ok_and(|pool| pool.certificates.is_some_and(|it| it.crl.is_some()));
        // One that is named and missing is an error for whoever reads it.
        (file.exists() || is_named()).then_some(file)
    }

    /// The configurations of all nodes whose directories are here, by number.
    pub fn nodes(&self) -> Result<Vec<NodeFile>> {
        let mut nodes = Vec::new();
        let entries =
            fs::read_dir(&self.directory).doing(Code::Configuration, format!("reading {}", self.directory.display()))?;
        for entry in entries.flatten() {
            let file = entry.path().join("hsmpoold.toml");
            if entry.file_name().to_string_lossy().starts_with("node") && file.is_file() {
                nodes.push(NodeFile::read(&file)?);
            }
        }
        nodes.sort_by_key(|node| node.node);
        Ok(nodes)
    }

    /// Lays out the directory of one node, which can be carried to its machine as it is.
    pub fn add_node(&self, node: &NewNode) -> Result<()> {
        let directory = self.node(node.number);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .doing(Code::Configuration, format!("making {}", directory.display()))?;
        let authority = Authority::open(&self.join("ca"), self.pool.0)?;
        authority.issue(&Name::Node(node.number), CERTIFICATE_DAYS, &directory.join("node"))?;
        copy(&self.join("ca/ca.pem"), &directory.join("ca.pem"), 0o644)?;
        copy(&authority.ensure_list()?, &directory.join("crl.pem"), 0o644)?;
        copy(&self.join("root.key"), &directory.join("hsmpool.key"), 0o600)?;
        write_new(&directory.join("hsmpoold.toml"), &self.node_text(node), 0o600)
    }

    /// A node's `hsmpoold.toml`.
    fn node_text(&self, node: &NewNode) -> String {
        let mut text = String::new();
        let socket = self.node(node.number).join("node.sock");
        let socket = match !node.is_carried && socket.as_os_str().len() <= SOCKET_PATH_MAX_BYTES {
            true => format!("\"unix:{}\", ", socket.display()),
            // Too deep for a socket, or elsewhere: applications use TLS, until somebody who knows the machine names one.
            false => String::new(),
        };
        let (on_sockets, users) = match node.is_carried {
            true => (ON_SOCKETS, String::new()),
            false => ("", format!("{} = \"app\"\n", crate::sys::user::id())),
        };
        let _ = write!(
            text,
            "# Node {number} of the pool; every key is explained in docs/configuration.md.\n\
             pool = \"{pool}\"\nnode = {number}\nzone = \"{zone}\"\ndirectory = \"data\"\nroot_key_file = \"hsmpool.key\"\n\
             policy = \"{policy}\"\n\n[listen]\n{on_sockets}clients = [{socket}\"{clients}\"]\npeers = \"{peers}\"\noperations = \"{operations}\"\n\n\
             [certificates]\nca = \"ca.pem\"\ncertificate = \"node.pem\"\nkey = \"node.key\"\ncrl = \"crl.pem\"\n\n\
             # Which users of this machine may use the Unix socket, and as which client: 1000 = \"app\"\n[unix_users]\n{users}",
            number = node.number,
            pool = self.pool,
            zone = node.zone,
            policy = node.policy,
            clients = node.clients(),
            peers = node.peers(),
            operations = node.place(2),
        );
        text
    }

    /// Adds to a node's directory what the application needs in whose process it runs: its `hsmpool.toml` names all else.
    pub fn add_application(&self, number: u64, zone: &str) -> Result<PathBuf> {
        let (directory, client) = (self.node(number), Name::Client { name: "app".to_string(), tokens: None });
        Authority::open(&self.join("ca"), self.pool.0)?.issue(&client, CERTIFICATE_DAYS, &directory.join("client"))?;
        write_new(&directory.join("pool.toml"), &self.pool_text(Some(zone), true)?.replace("\"ca/", "\""), 0o644)?;
        let file = self.application(number);
        let text = format!(
            "# For the application in whose process node {number} runs.\n[pool]\nfile = \"pool.toml\"\npeer = \"hsmpoold.toml\"\n"
        );
        write_new(&file, &text, 0o644)?;
        Ok(file)
    }

    fn application(&self, number: u64) -> PathBuf {
        self.node(number).join("hsmpool.toml")
    }

    /// Whether a node runs in an application's process, and not in a daemon's.
    pub fn is_peer(&self, number: u64) -> bool {
        self.application(number).is_file()
    }

    /// Writes what modules read, for the nodes that are here. Of a file that is there only the nodes change: zone, certificates and the rest are its
    /// owner's.
    pub fn write_pool_file(&self) -> Result<()> {
        let made = self.pool_text(None, true)?;
        write_nodes(&self.join("pool.toml"), &made)?;
        // Of applications in whose processes nodes run: such a file may be another user's, which is no reason to break off.
        let of_applications = self.nodes()?.into_iter().map(|node| self.node(node.node).join("pool.toml"));
        for file in of_applications.filter(|file| file.is_file()) {
            if let Err(error) = write_nodes(&file, &made) {
                eprintln!("hsmpool: {}: copy the nodes from the pool's own pool.toml to it", sentence(&error));
            }
        }
        Ok(())
    }

    /// What modules read, for the nodes that are here; the module's own zone is the first node's unless it is named. Without the Unix sockets, if they
    /// shall not be used.
    pub fn pool_text(&self, zone: Option<&str>, with_sockets: bool) -> Result<String> {
        let nodes = self.nodes()?;
        let zone = zone.map(str::to_string).or_else(|| nodes.first().map(|node| node.zone.clone())).unwrap_or_default();
        let mut text = format!(
            "# The pool, for modules. `zone` is where the application runs: its nodes are asked first.\npool = \"{}\"\nzone = \"{zone}\"\n\n\
             [certificates]\nca = \"ca/ca.pem\"\ncertificate = \"client.pem\"\nkey = \"client.key\"\n{}",
            self.pool,
            if self.crl().is_some() { "crl = \"ca/crl.pem\"\n" } else { "" }
        );
        for node in nodes {
            let addresses = node.listen.clients.iter().filter(|address| with_sockets || !address.starts_with("unix:"));
            let addresses: Vec<String> = addresses.map(|address| format!("{address:?}")).collect();
            let _ = write!(
                text,
                "\n[[node]]\nnode = {}\nzone = {:?}\naddresses = [{}]\n",
                node.node,
                node.zone,
                addresses.join(", ")
            );
        }
        Ok(text)
    }
}

/// The lines of `text` that describe nodes (`nodes`), or all others.
fn part(text: &str, nodes: bool) -> String {
    let mut is_node = false;
    let lines = text.lines().filter(|line| {
        if line.trim_start().starts_with('[') {
            is_node = line.trim_start().starts_with("[[node]]");
        }
        is_node == nodes
    });
    lines.map(|line| format!("{line}\n")).collect::<String>().trim_end().to_string()
}

/// Gives a `pool.toml` the nodes of another one. Errors: `Configuration`.
fn write_nodes(file: &Path, made: &str) -> Result<()> {
    match fs::read_to_string(file) {
        Ok(kept) => replace(file, &with_nodes_of(&kept, made)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => replace(file, made),
        Err(error) => Err(error).doing(Code::Configuration, format!("reading {}", file.display())),
    }
}

/// A `pool.toml` with another one's nodes.
fn with_nodes_of(kept: &str, made: &str) -> String {
    format!("{}\n\n{}\n", part(kept, false), part(made, true))
}

/// `HOST:PORT` of `--address`. Errors: `ArgumentsBad`.
pub fn host_and_port(place: &str) -> Result<(String, u16)> {
    let parts = place.rsplit_once(':').and_then(|(host, port)| Some((host.to_string(), port.parse().ok()?)));
    parts.filter(|(host, _)| !host.is_empty()).ok_or_else(|| {
        refuse(Code::ArgumentsBad, format!("{place:?} names no host and port: --address HOST:PORT, at creation ZONE=HOST:PORT"))
    })
}

/// A new file. Errors: `Configuration`.
pub fn write_new(file: &Path, text: &str, mode: u32) -> Result<()> {
    use std::io::Write;
    let doing = || format!("writing {}", file.display());
    let mut to = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(file).doing(Code::Configuration, doing())?;
    to.write_all(text.as_bytes()).and_then(|()| to.sync_all()).doing(Code::Configuration, doing())
}

fn replace(file: &Path, text: &str) -> Result<()> {
    let beside = file.with_extension("new");
    // Left by a command that was killed.
    let _ = fs::remove_file(&beside);
    write_new(&beside, text, 0o644)?;
    fs::rename(&beside, file).doing(Code::Configuration, format!("moving {} into its place", file.display()))
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let doing = || format!("copying {} to {}", from.display(), to.display());
    fs::copy(from, to).doing(Code::Configuration, doing())?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).doing(Code::Configuration, doing())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::node_check::{Depth, Row, can_run, check, line};
    use crate::store::tests::fixtures::Directory;

    fn node(number: u64, host: &str, port: u16) -> NewNode {
        NewNode {
            number,
            zone: format!("z{number}"),
            host: host.to_string(),
            port,
            policy: PolicyName::Default,
            is_carried: false,
        }
    }

    /// A pool's directory with nodes, without authority or keys.
    fn laid_out(directory: &Directory, nodes: &[NewNode]) -> Layout {
        let layout = Layout::create(&directory.path().join("pool"), PoolId([7; 16])).unwrap();
        for node in nodes {
            fs::create_dir(layout.node(node.number)).unwrap();
            write_new(&layout.node(node.number).join("hsmpoold.toml"), &layout.node_text(node), 0o600).unwrap();
        }
        layout
    }

    #[test]
    fn a_place_that_a_node_has_is_found_whichever_of_its_three_it_is() {
        let directory = Directory::new();
        let layout = laid_out(&directory, &[node(1, "10.0.1.5", 7100), node(2, "Host.example", 7100)]);
        let nodes = layout.nodes().unwrap();
        for (host, port, whose) in [
            ("10.0.1.5", 7100, Some(1)),
            ("10.0.1.5", 7098, Some(1)),
            ("10.0.1.5", 7102, Some(1)),
            ("10.0.1.5", 7097, None),
            ("10.0.1.5", 7103, None),
            ("10.0.1.6", 7100, None),
            ("host.EXAMPLE", 7101, Some(2)),
        ] {
            let found = taken(&node(3, host, port).places(), &nodes).map(|(node, _)| node.node);
            assert_eq!(found, whose, "{host}:{port}");
        }
    }

    #[test]
    fn a_node_that_is_carried_to_its_machine_names_nothing_of_this_one() {
        let directory = Directory::new();
        let layout = Layout::create(&directory.path().join("pool"), PoolId([7; 16])).unwrap();
        Authority::create(&layout.join("ca"), [7; 16]).unwrap();
        crate::partition::make_root_key(&layout.join("root.key"), &crate::world::Real).unwrap();
        let mut ports = crate::cli::pool::create::FreePorts::new().unwrap();
        let [carried, stays] = [(1, true), (2, false)].map(|(number, is_carried)| {
            let node = NewNode { is_carried, ..node(number, "127.0.0.1", ports.take().unwrap()) };
            layout.add_node(&node).unwrap();
            layout.node(number)
        });
        let there = directory.path().join("elsewhere");
        fs::rename(&carried, &there).unwrap();
        let file = NodeFile::read(&there.join("hsmpoold.toml")).unwrap();
        assert!(file.unix_users.is_empty(), "who made it may be anybody there: {:?}", file.unix_users);
        let text = fs::read_to_string(there.join("hsmpoold.toml")).unwrap();
        assert!(!text.contains(layout.directory.to_str().unwrap()), "{text}");
        // One that stays has its socket, to prove that the check would find it.
        let rows = |directory: &Path| check(&directory.join("hsmpoold.toml"), Depth::WithoutStore);
        let lines = |rows: &[Row]| rows.iter().map(line).collect::<Vec<_>>().join("\n");
        assert!(can_run(&rows(&there)), "{}", lines(&rows(&there)));
        assert!(lines(&rows(&stays)).contains("node.sock is free"), "{}", lines(&rows(&stays)));
        fs::rename(&stays, directory.path().join("moved")).unwrap();
        assert!(!can_run(&rows(&directory.path().join("moved"))), "its socket's directory is gone");
    }

    #[test]
    fn a_pool_file_keeps_what_its_owner_wrote_when_nodes_come() {
        let directory = Directory::new();
        let layout = laid_out(&directory, &[node(1, "h1", 7100), node(2, "h2", 7100)]);
        layout.write_pool_file().unwrap();
        let file = layout.join("pool.toml");
        let first = fs::read_to_string(&file).unwrap();
        assert_eq!(PoolFile::read(&file).unwrap().zone, "z1", "the first node's");
        let text =
            first.replace("zone = \"z1\"\n\n", "zone = \"z2\"\nconsistency = \"session\"\n\n").replace("client.pem", "web.pem");
        fs::write(&file, format!("# mine\n{text}")).unwrap();
        fs::create_dir(layout.node(4)).unwrap();
        write_new(&layout.node(4).join("hsmpoold.toml"), &layout.node_text(&node(4, "h4", 7100)), 0o600).unwrap();
        layout.write_pool_file().unwrap();
        let read = PoolFile::read(&file).unwrap();
        assert_eq!((read.zone.as_str(), read.consistency), ("z2", crate::config::pool::Consistency::Session));
        assert_eq!(read.node.iter().map(|node| node.zone.as_str()).collect::<Vec<_>>(), ["z1", "z2", "z4"]);
        assert!(read.certificates.unwrap().certificate.ends_with("web.pem"));
        assert_eq!(read.node.iter().filter_map(|node| node.node).collect::<Vec<_>>(), [1, 2, 4]);
        assert!(fs::read_to_string(&file).unwrap().starts_with("# mine\n"));
        // So has the application in whose process one of them runs.
        let of_application = layout.node(2).join("pool.toml");
        write_new(&of_application, &first, 0o644).unwrap();
        layout.write_pool_file().unwrap();
        assert_eq!(PoolFile::read(&of_application).unwrap().node, read.node);
    }
}
