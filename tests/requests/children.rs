//! The child of a fork makes its own what it has from its parent, and nobody else does.

use hsmpool::ck::{AttributeType, MechanismType, Rv};
use hsmpool::mechanism::{Mechanism, Params};
use hsmpool::node::Server;
use hsmpool::object::policy::Policy;
use hsmpool::object::{ObjectId, Value};
use hsmpool::secret::Secret;
use hsmpool::token::message::{Answer, Ask, Blob, Capsule, Held, Named, Reply, Request, Use, Verb, Verdict, Who, decode, encode};
use hsmpool::token::{Access, Admin, Role, Scope, TokenId};

use crate::house::{House, SCOPE, aes, caller, mechanism};

const CHILD: Scope = Scope([9; 16]);

/// A client's request to one node, and its reply.
fn ask(server: &Server, name: &str, request: &Request) -> Result<Reply, Rv> {
    match decode::<Answer>(server.answer(&caller(name), encode(request).expose()).expose()).expect("an answer").verdict {
        Verdict::Done(reply) => Ok(reply),
        Verdict::Refused(refusal) => Err(refusal.code),
        Verdict::Elsewhere(_) | Verdict::Unknown(_) => Err(Rv::DEVICE_ERROR),
    }
}

/// The parent's things as an application has them.
struct Parent {
    token: TokenId,
    access: Access,
    key: ObjectId,
    capsule: Capsule,
}

impl Parent {
    /// With a session key, private or public.
    fn new(house: &House, is_private: bool) -> Self {
        let (token, access) = house.token();
        let mut template = aes(false);
        template.set(AttributeType::PRIVATE, Value::Bool(is_private));
        let token = token.describe().unwrap().id;
        let ask_generate = Ask::Generate { mechanism: mechanism(MechanismType::AES_KEY_GEN), template };
        let request = Request { sequence: Some(1000), ..Request::new(Some(token), Who::from(&access), 0, ask_generate) };
        let Ok(Reply::Objects(mut made)) = ask(&house.servers[0], "app", &request) else { panic!("a session key") };
        let made = made.remove(0);
        Self { token, access, key: made.id, capsule: made.capsule.expect("a session object comes with its capsule") }
    }

    /// What a child gets that says so of itself.
    fn inherit(&self, server: &Server, name: &str, who: Who, from: Scope) -> Result<(Option<Who>, Vec<Named>), Rv> {
        let inherit = Ask::Inherit { from, capsules: vec![self.capsule.sealed.clone()] };
        match ask(server, name, &Request::new(Some(self.token), who, 0, inherit))? {
            Reply::Inherited { who, objects } => Ok((who, objects)),
            _ => panic!("another reply"),
        }
    }

    /// Whoever has this scope, with the parent's login.
    fn child(&self) -> Who {
        Who { scope: CHILD, ..Who::from(&self.access) }
    }

    /// What comes of reading the session key, brought along in a capsule.
    fn read(&self, server: &Server, who: &Who, capsule: &Capsule) -> Result<(), Rv> {
        let read = Ask::Read { id: self.key, wanted: vec![AttributeType::KEY_TYPE] };
        let (held, capsules) = (vec![Held { id: self.key, version: capsule.version }], vec![capsule.sealed.clone()]);
        ask(server, "app", &Request { held, capsules, ..Request::new(Some(self.token), who.clone(), 0, read) }).map(drop)
    }
}

#[test]
fn a_child_s_login_and_objects_are_its_own_and_outlive_the_parent_s() {
    let house = House::new(130);
    let parent = Parent::new(&house, true);
    let [first, second, third] = [0, 1, 2].map(|node| &*house.servers[node]);
    let (own, objects) = parent.inherit(second, "app", parent.child(), SCOPE).expect("what is the parent's");
    let own = own.expect("there is a login");
    let capsule = objects[0].capsule.clone().expect("there is a capsule");
    assert_ne!(own.login, parent.access.login);
    assert_eq!((objects.len(), objects[0].id, own.scope), (1, parent.key, CHILD));
    let again = parent.inherit(third, "app", parent.child(), SCOPE).expect("once more, elsewhere").0.expect("a login");
    assert_eq!(again.login, own.login, "the same login however often it is asked for");
    let sibling = Who { scope: Scope([10; 16]), ..parent.child() };
    assert_ne!(parent.inherit(third, "app", sibling, SCOPE).expect("another child").0.expect("a login").login, own.login);
    for server in [first, second, third] {
        assert_eq!(parent.read(server, &own, &capsule), Ok(()), "its own");
        assert_eq!(parent.read(server, &Who::from(&parent.access), &parent.capsule), Ok(()), "the parent's");
    }
    // Each destroys its own copy.
    let held = vec![Held { id: parent.key, version: capsule.version }];
    let destroy = Request::new(Some(parent.token), own.clone(), 0, Ask::Destroy { id: parent.key });
    ask(first, "app", &Request { sequence: Some(0), held: held.clone(), ..destroy }).expect("the child's");
    let read = Ask::Read { id: parent.key, wanted: Vec::new() };
    let read = Request::new(Some(parent.token), Who::from(&parent.access), 0, read);
    ask(first, "app", &Request { held, ..read }).expect("the parent's is there");
    house.admin.tokens().unwrap().remove(0).logout(&parent.access).unwrap();
    assert_eq!(parent.read(third, &Who::from(&parent.access), &parent.capsule), Err(Rv::USER_NOT_LOGGED_IN), "it has logged out");
    assert_eq!(parent.read(third, &own, &capsule), Ok(()), "the child has not");
    assert_eq!(
        parent.inherit(third, "app", parent.child(), SCOPE).err(),
        Some(Rv::USER_NOT_LOGGED_IN),
        "there is nothing to inherit"
    );
    let logout = Request::new(Some(parent.token), own.clone(), 0, Ask::Logout);
    ask(third, "app", &logout).expect("the child logs out");
    assert_eq!(parent.read(third, &own, &capsule), Err(Rv::USER_NOT_LOGGED_IN));
}

#[test]
fn nobody_inherits_with_less_than_the_parent_s_whole_proof() {
    let house = House::new(131);
    let parent = Parent::new(&house, true);
    // One that has never heard of the login.
    let server = &house.servers[2];
    let refused = |name: &str, who: Who, from: Scope| parent.inherit(server, name, who, from).err();
    assert_eq!(refused("thief", parent.child(), SCOPE), Some(Rv::USER_NOT_LOGGED_IN), "another client");
    assert_eq!(refused("app", parent.child(), CHILD), Some(Rv::USER_NOT_LOGGED_IN), "another scope than the ticket's");
    assert_eq!(refused("app", Who { role: Some(Role::SecurityOfficer), ..parent.child() }, SCOPE), Some(Rv::USER_NOT_LOGGED_IN));
    for at in 0..parent.access.ticket.len() {
        let mut ticket = parent.access.ticket.to_vec();
        ticket[at] ^= 1;
        let who = Who { ticket: Blob(ticket), ..parent.child() };
        assert_eq!(refused("app", who, SCOPE), Some(Rv::USER_NOT_LOGGED_IN), "byte {at}");
    }
    let nobody = Who::from(&Access::public(CHILD, false));
    let (own, objects) = parent.inherit(server, "app", nobody.clone(), SCOPE).expect("nothing private");
    assert!(own.is_none() && objects.is_empty(), "a private object needs the login");
    // What a login has that was not inherited: the parent's scope does not open the child's capsules, nor the other way.
    let (own, objects) = parent.inherit(server, "app", parent.child(), SCOPE).expect("the whole proof");
    let (own, capsule) = (own.expect("a login"), objects[0].capsule.clone().expect("a capsule"));
    let invalid = Err(Rv::OBJECT_HANDLE_INVALID);
    assert_eq!(parent.read(&house.servers[1], &own, &parent.capsule), invalid);
    assert_eq!(parent.read(&house.servers[1], &Who::from(&parent.access), &capsule), invalid);
    let stolen = Who { login: own.login, ticket: own.ticket.clone(), ..Who::from(&parent.access) };
    assert_eq!(
        parent.read(&house.servers[1], &stolen, &capsule),
        Err(Rv::USER_NOT_LOGGED_IN),
        "the child's ticket for the parent"
    );
}

#[test]
fn public_session_objects_are_inherited_without_a_login_from_their_own_scope_alone() {
    let house = House::new(132);
    let parent = Parent::new(&house, false);
    let nobody = Who::from(&Access::public(CHILD, false));
    let (own, objects) = parent.inherit(&house.servers[1], "app", nobody.clone(), SCOPE).expect("what is public");
    assert!(own.is_none());
    let capsule = objects[0].capsule.clone().expect("a capsule");
    assert_eq!(parent.read(&house.servers[2], &nobody, &capsule), Ok(()));
    let others = parent.inherit(&house.servers[1], "app", nobody, Scope([8; 16])).expect("nothing of another scope");
    assert!(others.1.is_empty());
}

#[test]
fn a_child_does_not_spend_its_parent_s_nonces_under_the_strict_policy() {
    let house = House::with_policy(133, Policy::Strict);
    let parent = Parent::new(&house, true);
    let (token, user) = (parent.token, &parent.access);
    let generate = Ask::Generate { mechanism: mechanism(MechanismType::AES_KEY_GEN), template: aes(true) };
    let request = Request { sequence: Some(1001), ..Request::new(Some(token), Who::from(user), 0, generate) };
    let Ok(Reply::Objects(made)) = ask(&house.servers[0], "app", &request) else { panic!("a key") };
    let own = parent.inherit(&house.servers[0], "app", parent.child(), SCOPE).expect("inherits").0.expect("a login");
    let params = Params::Gcm { iv: vec![1; 12], aad: Vec::new(), tag_bits: 128 };
    let what = Use {
        verb: Verb::Encrypt,
        mechanism: Mechanism { kind: MechanismType::AES_GCM, params },
        key: made[0].id,
        permit: Blob::default(),
    };
    // Both count their uses from the same number on, as they do after a fork.
    let encrypt = |who: &Who, text: &str| {
        let input = Secret::copy_of(text.as_bytes());
        let run = Ask::Run { what: what.clone(), input, hashed: false, signature: Vec::new() };
        ask(&house.servers[0], "app", &Request { use_number: Some(5), ..Request::new(Some(token), who.clone(), 0, run) })
            .map(drop)
    };
    let parent = Who::from(user);
    assert_eq!(encrypt(&parent, "the parent's text"), Ok(()));
    assert_eq!(encrypt(&parent, "the parent's text"), Ok(()), "the same request again");
    assert_eq!(encrypt(&own, "the child's text"), Err(Rv::MECHANISM_PARAM_INVALID));
}
