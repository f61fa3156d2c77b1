//! Every bound of the project, unit last; relations between bounds are asserted at compile time.
//!
//! Knows: nothing.

/// Longest PIN, SoftHSM's bound.
pub const PIN_LEN_MAX_BYTES: usize = 255;
/// Shortest PIN, SoftHSM's bound.
pub const PIN_LEN_MIN_BYTES: usize = 4;
/// A token label is padded with blanks to exactly this length (PKCS#11 5.5.7, `C_InitToken`).
pub const TOKEN_LABEL_BYTES: usize = 32;
/// Wrong PINs in a row before a user is locked, by default.
pub const PIN_ATTEMPTS_MAX_DEFAULT: u32 = 10;

/// Most attributes in one template.
pub const TEMPLATE_ATTRIBUTES_MAX: usize = 256;
/// Longest attribute value (certificates, data objects).
pub const ATTRIBUTE_VALUE_MAX_BYTES: usize = 16 << 20;
/// Longest object, all attributes together.
pub const OBJECT_MAX_BYTES: usize = 32 << 20;
/// Deepest nesting of templates within templates; PKCS#11 allows one level.
pub const TEMPLATE_DEPTH_MAX: usize = 2;

/// Longest variable part of a mechanism parameter (AAD, label, other info).
pub const MECHANISM_PARAMETER_MAX_BYTES: usize = 16 << 20;
/// Longest single input buffer of an operation. A longer one is a caller's wrong length.
pub const INPUT_MAX_BYTES: usize = 1 << 40;
/// Most input that a `whole` operation (pure EdDSA, raw RSA, AEAD decryption) collects.
pub const COLLECTED_INPUT_MAX_BYTES: usize = 1 << 30;
/// Longest secret key value, SoftHSM's bound (0x8000000).
pub const SECRET_VALUE_MAX_BYTES: usize = 0x800_0000;
/// Most random bytes in one call.
pub const RANDOM_MAX_BYTES: usize = 1 << 30;
/// Largest RSA modulus.
pub const RSA_MODULUS_MAX_BITS: u64 = 16384;
/// Smallest RSA modulus.
pub const RSA_MODULUS_MIN_BITS: u64 = 512;

/// How long a fork waits for calls of other threads, before the child must do without what they hold.
pub const FORK_WAIT_MAX_MILLISECONDS: u64 = 1000;
/// Most sessions of one application.
pub const SESSIONS_MAX: usize = 1 << 20;
/// Sets of copies that threads keep of a token, each for itself; more threads share them.
pub const HANDS_PER_TOKEN: usize = 32;
/// A partition gives a client a new ticket for one that is older than this.
pub const TICKET_RENEWED_AFTER_SECONDS: u64 = 300;
/// A login of which no partition has heard for so long is over.
pub const TICKET_MAX_AGE_SECONDS: u64 = 30 * 24 * 3600;
/// Logins that a node remembers to have been ended: 20 MiB. Beyond it the oldest are forgotten.
pub const ENDED_LOGINS_MAX: usize = 1 << 18;
/// How long a context-specific login may be spent.
pub const PERMIT_MAX_AGE_SECONDS: u64 = 300;
/// How long an attempt with the SO's PIN is delayed at most, after many wrong ones.
pub const SO_DELAY_MAX_MILLISECONDS: u64 = 2_000;
/// How long such an attempt waits at a node for those of others, before its client asks another node.
pub const SO_TURN_MAX_MILLISECONDS: u64 = 2_500;
/// Nonces of one token (20 MiB) from which on keys that are gone are looked for now and then, to forget what they were used with.
pub const NONCES_LOOKED_THROUGH_FROM: usize = 1 << 16;
/// Nonces that a node remembers of session objects that it has no more, but whose owners may bring them back.
pub const NONCES_OF_GONE_KEYS_MAX: usize = 1 << 15;

/// How long a node that starts waits for a directory that another process has, which may be about to end.
pub const CLAIM_WAIT_MILLISECONDS: u64 = 2000;
/// How long a node that is stopped waits for answers under way.
pub const DRAIN_SECONDS: u64 = 5;
/// Connections to one node that a module keeps for the next call: as many threads call at once without a handshake.
pub const IDLE_CONNECTIONS_MAX: usize = 256;
/// Most nodes that one process has known of its pool, those that are gone included.
pub const NODES_KNOWN_MAX: usize = 256;
/// A connection that nobody used for so long is not trusted but replaced: shorter than firewalls' memory of idle connections, and before the first
/// keepalive.
pub const IDLE_CONNECTION_TRUSTED_SECONDS: u64 = 25;
/// A module's certificate that ends so soon, or after a third of its time if that is sooner, is warned of.
pub const CERTIFICATE_WARNED_BEFORE_DAYS: i64 = 30;
/// How often it is.
pub const CERTIFICATE_WARNED_EVERY_SECONDS: i64 = 24 * 3600;
/// Files of a certificate, and a `pool.toml`, that cannot be used are read again after so long, whether they seem to have changed or not.
pub const FILES_READ_AGAIN_SECONDS: i64 = 10;
/// Longest payload of a frame: an object of the largest kind, and what stands around it.
pub const FRAME_MAX_BYTES: usize = OBJECT_MAX_BYTES + (1 << 20);
/// Longest input that goes to a node in one request, and that is collected for one: what stands around it has room in the frame. A longer one goes in
/// parts where the mechanism has any, and is refused where it has none.
pub const REQUEST_INPUT_MAX_BYTES: usize = OBJECT_MAX_BYTES;
/// Longest first frame of a connection: nobody is known before it.
pub const HELLO_MAX_BYTES: usize = 64 << 10;
/// Connections of one listening socket that have not said yet who they are: beyond them the one that has taken longest is dropped.
pub const STRANGERS_MAX: usize = 1024;
/// Most connections of one listening socket.
pub const CONNECTIONS_MAX: usize = 4096;
/// Those of clients among them: however many come, nodes and operators have room. One client may have three quarters.
pub const CLIENT_CONNECTIONS_MAX: usize = CONNECTIONS_MAX - 512;
/// Most connections of a node's operations port.
pub const WATCHERS_MAX: usize = 128;
/// Longest request line and headers that it reads.
pub const WATCHER_HEAD_MAX_BYTES: usize = 8 << 10;
/// How long a call of a pool may take before it fails: longer than two elections, a lease and some margin.
pub const CALL_DEADLINE_SECONDS: u64 = 30;
/// Repeats of requests that a module may send at once: as many calls as an application may have under way when a node falls silent.
pub const REPEATS_AT_ONCE_MAX: i64 = 1000;
/// Repeats that it may send in a second, however few of its calls are answered.
pub const REPEATS_PER_SECOND: i64 = 200;
/// Repeats that its answered calls earn it.
pub const REPEATS_PER_HUNDRED_CALLS: i64 = 10;
/// How long a module believes what a node said of a use that was started; the node looks again at each use.
pub const BEGUN_KEPT_MILLISECONDS: u64 = 1000;
/// Calls that make token objects and go in one request at most.
pub const MAKINGS_MAX: usize = 128;
/// Requests of one application that make token objects and are under way before others wait to go together.
pub const MAKINGS_UNDER_WAY_MAX: usize = 4;
/// Longest templates of a call that goes together with others, in bytes of their values.
pub const MAKING_MAX_BYTES: usize = 4 << 10;
/// How long such a call waits at most before it goes by itself.
pub const MAKING_WAITS_MAX_MILLISECONDS: u64 = 200;
/// Most input of an operation in parts that the module keeps, to replay it to another partition.
pub const STREAM_REPLAY_MAX_BYTES: usize = 64 << 20;
/// Most input in one request of an operation in parts; longer parts are cut.
pub const REQUEST_PART_MAX_BYTES: usize = 1 << 20;
/// Session objects that come along with requests, to a node that lacks them or to become a forked child's own, go in one request up to this many bytes; a
/// longer one goes alone.
pub const CAPSULES_AT_ONCE_MAX_BYTES: usize = 1 << 20;
/// Session objects that a module destroys before it tells all nodes, however often that would be.
pub const DESTROYED_UNTOLD_MAX: usize = 1024;
/// Most operations in parts whose state one node keeps.
pub const STREAMS_MAX: usize = 65_536;
/// Most of them for one application.
pub const STREAMS_PER_CLIENT_MAX: usize = 4096;
/// Most of them for all applications of one name (a certificate's, or a user of this machine): each chooses by itself what it calls itself beside that.
pub const STREAMS_PER_NAME_MAX: usize = 16_384;
/// What an application has at a node is put aside when it has been silent for so long.
pub const IDLE_APPLICATION_SECONDS: u64 = 600;

/// Most tokens in one store.
pub const TOKENS_MAX: usize = 4096;

/// How long a caller waits for another process that holds the store.
pub const STORE_BUSY_MAX_MILLISECONDS: u64 = 30_000;
/// Most idle connections that a process keeps for reading.
pub const STORE_IDLE_READERS_MAX: usize = 32;
/// Pages after which SQLite's write-ahead log is folded back into the database and written over from its start.
pub const STORE_WAL_PAGES: u32 = 500;
/// The same of a group's member, which does not sync its store with each change: folding back, which does, is the rarer the longer it is.
pub const MEMBER_WAL_PAGES: u32 = 2_000;
/// Pages that the connection that writes a member's store keeps: 16 MiB, so that an open transaction fits in, and the upper pages of the index stay.
pub const MEMBER_CACHE_PAGES: u32 = 4096;
/// Numbers in the log that one request of a module takes: one for each kind of change that it can make.
pub const REQUEST_STEPS: u64 = 8;
/// Numbers between a client's oldest request under way and its newest; as many of its latest answers are kept.
pub const REQUESTS_KEPT_PER_CLIENT: u64 = 1024 * REQUEST_STEPS;
/// Latest changes whose answers are kept, all clients together.
pub const REQUESTS_KEPT_CHANGES: u64 = 1 << 17;
/// Of these, how many are left for changes that come into the log between a look at how many there are and a change's own place: each connection of a leader
/// has one under way.
pub const REQUESTS_OVERTAKING_MAX: u64 = 1 << 14;
/// Highest number of a request: SQLite orders signed numbers.
pub const REQUEST_SEQUENCE_MAX: u64 = u64::MAX >> 1;
/// Latest changes that a single member's log keeps.
pub const LOG_KEPT_CHANGES: u64 = 256;
/// Longest encoded change that a single member's log keeps; a longer one leaves its request only.
pub const LOG_CHANGE_MAX_BYTES: usize = 16 << 10;

/// How long a member that knew all that its group had committed goes on serving as if nothing had changed.
pub const SERVING_LEASE_MILLISECONDS: u64 = 2_000;
/// How much longer than that others wait for it: clocks do not run alike.
pub const SERVING_LEASE_MARGIN_MILLISECONDS: u64 = 100;
/// How often a member renews its lease.
pub const LEASE_RENEWED_EVERY_MILLISECONDS: u64 = 500;
/// How long a member without contact to a living quorum goes on using keys, by default.
pub const ISOLATED_USE_DEFAULT_SECONDS: u64 = 3_600;
/// How often the last contact is written down, at most: after a restart the isolated use counts from there.
pub const CONTACT_KEPT_EVERY_SECONDS: u64 = 30;
/// A group's leader is heard of this often.
pub const HEARTBEAT_MILLISECONDS: u64 = 100;
/// Shortest and longest silence after which a member stands for election; ten times a slow disk's sync.
pub const ELECTION_MIN_MILLISECONDS: u64 = 500;
/// The longest silence.
pub const ELECTION_MAX_MILLISECONDS: u64 = 800;
/// A member that has written nothing for so long, although there is something to write, lets another lead.
pub const DISK_STANDS_STILL_MILLISECONDS: u64 = 2_000;
/// How long it does not stand for election after that.
pub const STANDS_AGAIN_AFTER_MILLISECONDS: u64 = 5_000;
/// A leader tells that a member is not heard of, is heard of again, lags or has caught up, when it has been so for so long.
pub const MEMBER_SILENT_MILLISECONDS: u64 = 2_000;
/// A member that lacks more entries than that lags, and has caught up with a quarter of it.
pub const MEMBER_LAGS_ENTRIES: u64 = APPEND_MAX_ENTRIES;
/// How long a member waits for another's answer before it asks again.
pub const PEER_ANSWER_MAX_MILLISECONDS: u64 = 2_000;
/// A question to another member that has had no answer is asked again by another connection when the member answers a heartbeat that was sent so much later:
/// longer than a healthy disk takes.
pub const OVERTAKEN_AFTER_MILLISECONDS: u64 = 400;
/// How long an installed snapshot may take.
pub const SNAPSHOT_INSTALL_MAX_MILLISECONDS: u64 = 120_000;
/// Longest piece of a snapshot that is sent at once.
pub const SNAPSHOT_PIECE_MAX_BYTES: usize = 512 << 10;
/// Largest snapshot that is taken in.
pub const SNAPSHOT_MAX_BYTES: u64 = 1 << 40;
/// Longest encoded proposal that is read: logs may have some from when a longer one was taken than frames carry.
pub const PROPOSAL_MAX_BYTES: usize = OBJECT_MAX_BYTES + (4 << 20);
/// Longest that is taken: as an entry, and what stands around it, it has to fit a frame, or no other member would ever have it.
pub const PROPOSED_MAX_BYTES: usize = OBJECT_MAX_BYTES + (512 << 10);
/// Most bytes of proposals that a leader has under way.
pub const PROPOSALS_UNDER_WAY_MAX_BYTES: usize = 2 * PROPOSAL_MAX_BYTES;
/// Entries are sent to a member together up to this many bytes; a longer one goes alone.
pub const APPEND_MAX_BYTES: usize = 512 << 10;
/// Most entries that are sent to a member together.
pub const APPEND_MAX_ENTRIES: u64 = 1024;
/// Most writes that go to the log's disk together.
pub const JOURNAL_QUEUE_MAX: usize = 4096;
/// Most bytes of entries that wait for the log's disk.
pub const JOURNAL_QUEUE_MAX_BYTES: usize = 2 * PROPOSAL_MAX_BYTES;
/// Most bytes of the latest entries that a member keeps in memory.
pub const LOG_TAIL_MAX_BYTES: usize = 32 << 20;
/// Most entries that are applied in one transaction.
pub const APPLY_MAX_ENTRIES: usize = 1024;
/// How long new objects wait in an open transaction for others, if nobody looks for them: the rows by which they are found are the cheaper the more
/// of them share a page.
pub const APPLY_OPEN_MAX_MILLISECONDS: u64 = 250;
/// With as many bytes of entries it is committed, and as many are held before they are applied, where nobody waits for them.
pub const APPLY_OPEN_MAX_BYTES: usize = 2 << 20;
/// The same of changes. Who comes meanwhile waits until they are committed, or applied: tens of milliseconds.
pub const APPLY_OPEN_MAX_CHANGES: u64 = 512;
/// Clients whose highest number is kept in memory.
pub const CLIENTS_NOTED_MAX: usize = 4096;
/// A group's log is cut after this many entries.
pub const SNAPSHOT_EVERY_ENTRIES: u64 = 8192;
/// Entries that are kept when it is cut, for members that lag.
pub const LOG_KEPT_ENTRIES: u64 = 8192;
/// Most entries that are dropped from the log's file with one write.
pub const LOG_DROPPED_AT_ONCE_ENTRIES: u64 = SNAPSHOT_EVERY_ENTRIES;
/// Most bytes that are written while the log is not cut, for a member that was sent a copy.
pub const LOG_HELD_MAX_BYTES: u64 = 4 << 30;
/// How long such a member may take nothing: neither entries nor a piece of its copy.
pub const COPY_WAITED_FOR_SECONDS: u64 = 60;
/// Most members of a group.
pub const MEMBERS_MAX: usize = 64;
/// Longest name of a zone or region, and longest address.
pub const MEMBER_NAME_MAX_BYTES: usize = 256;

const _: () = assert!(ELECTION_MIN_MILLISECONDS >= 5 * HEARTBEAT_MILLISECONDS);
// A member is not heard of when many heartbeats, and some renewals of its lease, are missing; and it is told before it needs a copy.
const _: () = assert!(MEMBER_SILENT_MILLISECONDS >= 10 * HEARTBEAT_MILLISECONDS);
const _: () = assert!(MEMBER_SILENT_MILLISECONDS >= 3 * LEASE_RENEWED_EVERY_MILLISECONDS);
const _: () = assert!(MEMBER_LAGS_ENTRIES < LOG_KEPT_ENTRIES);
// A change waits for two elections and for the lease of a member that is gone, and there is time left to be carried out.
const _: () = assert!(
    1000 * CALL_DEADLINE_SECONDS
        > 2 * ELECTION_MAX_MILLISECONDS + SERVING_LEASE_MILLISECONDS + SERVING_LEASE_MARGIN_MILLISECONDS + 10_000
);
// A lease outlives an election that begins right before its renewal; clocks may differ by a twentieth.
const _: () = assert!(SERVING_LEASE_MILLISECONDS > LEASE_RENEWED_EVERY_MILLISECONDS + ELECTION_MAX_MILLISECONDS);
const _: () = assert!(SERVING_LEASE_MARGIN_MILLISECONDS * 20 >= SERVING_LEASE_MILLISECONDS);
const _: () = assert!(PROPOSED_MAX_BYTES + (256 << 10) <= FRAME_MAX_BYTES && PROPOSED_MAX_BYTES <= PROPOSAL_MAX_BYTES);
const _: () = assert!(REQUEST_INPUT_MAX_BYTES < FRAME_MAX_BYTES && REQUEST_INPUT_MAX_BYTES < COLLECTED_INPUT_MAX_BYTES);
const _: () = assert!(REQUEST_PART_MAX_BYTES <= REQUEST_INPUT_MAX_BYTES);
const _: () = assert!(STRANGERS_MAX < CONNECTIONS_MAX && HELLO_MAX_BYTES < FRAME_MAX_BYTES);
const _: () = assert!(STREAMS_PER_CLIENT_MAX < STREAMS_PER_NAME_MAX && STREAMS_PER_NAME_MAX < STREAMS_MAX);
const _: () = assert!(PIN_LEN_MIN_BYTES < PIN_LEN_MAX_BYTES);
// A module that has waited for several nodes in vain waits a sixth of its call for each: an SO who comes last, is delayed and has the right PIN is in by then.
const _: () = assert!(SO_TURN_MAX_MILLISECONDS + SO_DELAY_MAX_MILLISECONDS + 500 <= 1000 * CALL_DEADLINE_SECONDS / 6);
// Who waits for one other is served.
const _: () = assert!(SO_TURN_MAX_MILLISECONDS > SO_DELAY_MAX_MILLISECONDS);
const _: () = assert!(2 * NONCES_OF_GONE_KEYS_MAX <= NONCES_LOOKED_THROUGH_FROM);
const _: () = assert!(TICKET_RENEWED_AFTER_SECONDS < TICKET_MAX_AGE_SECONDS);
const _: () = assert!(ATTRIBUTE_VALUE_MAX_BYTES < OBJECT_MAX_BYTES);
const _: () = assert!(REQUESTS_KEPT_PER_CLIENT < REQUESTS_KEPT_CHANGES);
const _: () =
    assert!(REQUESTS_OVERTAKING_MAX >= 2 * CONNECTIONS_MAX as u64 && REQUESTS_OVERTAKING_MAX < REQUESTS_KEPT_CHANGES / 2);
