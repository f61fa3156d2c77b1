//! Whether a node may show a certificate. It is asked before it does: others who are shown a wrong one only break the connection.

use std::time::Duration;

use crate::error::{Code, Result, refuse};
use crate::wire::{Identity, Name};

/// Errors: `Configuration`: it is not this node's, or is not good at this time (since 1970).
pub fn check_certificate(identity: &Identity, node: u64, now: Duration) -> Result<()> {
    let wrong = |what: String| Err(refuse(Code::Configuration, format!("the node's certificate {what}")));
    match identity.own_name() {
        Ok(Name::Node(number)) if number == node => {}
        Ok(other) => return wrong(format!("is for {}, not for node {node}", other.uri(&identity.pool))),
        Err(error) => return Err(refuse(Code::Configuration, "the node's certificate cannot be used").because(error)),
    }
    let now = now.as_secs() as i64;
    if now < identity.begins() {
        return wrong(format!("is good in {} only: is the clock right?", days(identity.begins() - now)));
    }
    if now >= identity.expires() {
        return wrong(format!("has ended {} ago: `hsmpool cert rotate` makes a new one", days(now - identity.expires())));
    }
    Ok(())
}

/// For people.
fn days(seconds: i64) -> String {
    match seconds / (24 * 3600) {
        0 => format!("{seconds} s"),
        1 => "1 day".to_string(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::fixtures::Directory;
    use crate::wire::pki::Authority;

    #[test]
    fn only_its_own_certificate_is_taken_and_only_in_its_time() {
        let (directory, pool) = (Directory::new(), [3; 16]);
        let authority = Authority::create(&directory.path().join("ca"), pool).unwrap();
        let issued = |name: &Name| {
            let files = authority.issue(name, 10, &directory.path().join("one")).unwrap();
            Identity::read(pool, &files.ca, &files.certificate, &files.key).unwrap()
        };
        let own = issued(&Name::Node(2));
        let at = |seconds: i64| Duration::from_secs(seconds as u64);
        let told = |identity: &Identity, now| check_certificate(identity, 2, now).unwrap_err().to_string();
        check_certificate(&own, 2, at(own.begins())).unwrap();
        check_certificate(&own, 2, at(own.expires() - 1)).unwrap();
        assert!(told(&own, at(own.begins() - 1)).contains("is the clock right?"));
        assert!(told(&own, at(own.expires())).contains("has ended 0 s ago"));
        assert!(told(&own, at(own.expires() + 3 * 24 * 3600)).contains("has ended 3 days ago"));
        let client = Name::Client { name: "web".to_string(), tokens: None };
        for other in [Name::Node(1), client, Name::Operator("ann".to_string())] {
            let other = issued(&other);
            assert!(told(&other, at(other.begins())).contains("not for node 2"));
        }
        let mut elsewhere = own.clone();
        elsewhere.pool = [4; 16];
        assert!(told(&elsewhere, at(own.begins())).contains("another pool"));
    }
}
