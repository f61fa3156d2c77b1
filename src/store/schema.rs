//! The tables, and the numbers that mark a file as ours.

/// `application_id` of the database header: "HSMp". Tells our store from any other SQLite database.
pub const APPLICATION_ID: u32 = 0x4853_4d70;
/// `user_version` of the database header: the newest format that is known.
pub const FORMAT: u32 = FORMAT_MEMBER;
/// A store of its own: the tables below.
pub const FORMAT_ALONE: u32 = 1;
/// A member of a group: [`MEMBER_TABLES`] besides. A store becomes one by [`super::Store::replicate`]; then only the group's log writes.
pub const FORMAT_MEMBER: u32 = 2;
/// Bytes of a database page.
pub const PAGE_BYTES: u32 = 4096;

/// The tables of format 1.
///
/// - `state`: one row. How many changes have been applied, the sum over the facts ([`super::facts`]), and the owner's stamp over
///   both ([`super::Store::authenticate`]); null while nobody has stamped it.
/// - `token`, `user`, `object`: the facts. `number` is the order of creation. `object.tags` repeats the object's rows of `tag`, so
///   that they can be found and removed without another index.
/// - `tag`: the blind index; every object has one row of attribute -1 besides, which lists it.
/// - `request`: answers by request id ([`crate::log`] decides how long they are kept).
/// - `log`: the latest changes, as CBOR; null where one was too long to keep, and in a member of a group, whose log has them.
pub const TABLES: &str = "
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    applied INTEGER NOT NULL,
    sum BLOB NOT NULL,
    stamp BLOB
) STRICT;
CREATE TABLE token (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    serial BLOB NOT NULL UNIQUE,
    label BLOB NOT NULL,
    policy INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    public_key BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT;
CREATE TABLE user (
    token INTEGER NOT NULL,
    role INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    wrapped BLOB NOT NULL,
    attempts INTEGER NOT NULL,
    attempts_max INTEGER NOT NULL,
    PRIMARY KEY (token, role)
) STRICT, WITHOUT ROWID;
CREATE TABLE object (
    number INTEGER PRIMARY KEY,
    token INTEGER NOT NULL,
    id BLOB NOT NULL,
    version INTEGER NOT NULL,
    private INTEGER NOT NULL,
    tags BLOB NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX object_id ON object (id, token);
CREATE TABLE tag (
    token INTEGER NOT NULL,
    attribute INTEGER NOT NULL,
    hash BLOB NOT NULL,
    object INTEGER NOT NULL,
    PRIMARY KEY (token, attribute, hash, object)
) STRICT, WITHOUT ROWID;
CREATE TABLE request (
    client BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    position INTEGER NOT NULL,
    outcome BLOB NOT NULL,
    PRIMARY KEY (client, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE log (
    position INTEGER PRIMARY KEY,
    client BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    change BLOB
) STRICT;
";

/// Counts that rise with the facts, so that who holds a copy of a row can tell that the row was left alone ([`super::Marks`]). By triggers, so that no
/// way of changing a fact can forget them; each member's own. Slot '' counts changes of tokens and users, slots '0' to 'F' changed and
/// removed objects by the first digit of their ids.
pub const MARKS: &str = "
CREATE TABLE mark (
    slot TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO mark VALUES ('', 0), ('0', 0), ('1', 0), ('2', 0), ('3', 0), ('4', 0), ('5', 0), ('6', 0), ('7', 0), ('8', 0), ('9', 0),
    ('A', 0), ('B', 0), ('C', 0), ('D', 0), ('E', 0), ('F', 0);
CREATE TRIGGER object_replaced AFTER UPDATE ON object BEGIN
    UPDATE mark SET count = count + 1 WHERE slot = substr(hex(OLD.id), 1, 1); END;
CREATE TRIGGER object_gone AFTER DELETE ON object BEGIN
    UPDATE mark SET count = count + 1 WHERE slot = substr(hex(OLD.id), 1, 1); END;
CREATE TRIGGER token_made AFTER INSERT ON token BEGIN UPDATE mark SET count = count + 1 WHERE slot = ''; END;
CREATE TRIGGER token_changed AFTER UPDATE ON token BEGIN UPDATE mark SET count = count + 1 WHERE slot = ''; END;
CREATE TRIGGER token_gone AFTER DELETE ON token BEGIN UPDATE mark SET count = count + 1 WHERE slot = ''; END;
CREATE TRIGGER user_made AFTER INSERT ON user BEGIN UPDATE mark SET count = count + 1 WHERE slot = ''; END;
CREATE TRIGGER user_changed AFTER UPDATE ON user BEGIN UPDATE mark SET count = count + 1 WHERE slot = ''; END;
CREATE TRIGGER user_gone AFTER DELETE ON user BEGIN UPDATE mark SET count = count + 1 WHERE slot = ''; END;
";

/// What format 2 adds. `raft`: one row. Which entry of the group's log was applied last, and the last membership in it; bytes that
/// [`crate::log`] understands.
pub const MEMBER_TABLES: &str = "
CREATE TABLE raft (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    applied BLOB,
    membership BLOB
) STRICT;
INSERT INTO raft (one) VALUES (1);
";

/// The tables that are the same on all members, in an order in which they can be copied.
pub const SHARED_TABLES: [&str; 7] = ["state", "token", "user", "object", "tag", "request", "log"];
