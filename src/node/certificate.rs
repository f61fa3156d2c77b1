//! Whether a node may show a certificate. It is asked before it does: others who are shown a wrong one only break the connection.

use std::time::Duration;

use crate::error::{Code, Result, refuse};
use crate::wire::{Identity, Name};

/// Whether a node may begin with it. Errors: `Configuration`: it is not this node's, is not good at this time (since 1970), or was revoked.
pub fn check_certificate(identity: &Identity, node: u64, now: Duration) -> Result<()> {
    check_but_for_revocation(identity, node, now)?;
    match revoked(identity, node) {
        Some(told) => Err(refuse(Code::Configuration, told)),
        None => Ok(()),
    }
}

/// That it was revoked, and the way out, if it was.
pub fn revoked(identity: &Identity, node: u64) -> Option<String> {
    let told = "the node's certificate was revoked, so that nobody speaks with the node";
    identity.is_revoked().then(|| format!("{told}: `hsmpool cert rotate --node {node}` makes a new one"))
}

/// Whether it may take the place of what the node shows. Errors: `Configuration`, as above; but where the same one is shown already, newer lists are
/// taken although it is on them: what else is on them counts.
pub fn check_renewed(old: &Identity, new: &Identity, node: u64, now: Duration) -> Result<()> {
    match new.shows_the_same_as(old) {
        true => check_but_for_revocation(new, node, now),
        false => check_certificate(new, node, now),
    }
}

fn check_but_for_revocation(identity: &Identity, node: u64, now: Duration) -> Result<()> {
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
    use crate::wire::Files;
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
        // Revoked: no start with it, and no exchange for it; but the list that says so is taken by a node that shows it already.
        let (pem, files) = (directory.path().join("one.pem"), authority.revoke(&[]).unwrap().list);
        authority.revoke(&[authority.certificate_in(&pem).unwrap()]).unwrap();
        let [ca, certificate, key] = ["ca/ca.pem", "one.pem", "one.key"].map(|name| directory.path().join(name));
        let listed = Identity::of(&Files { pool, ca, certificate, key, crl: Some(files) }).unwrap();
        let now = at(listed.begins());
        let refused = check_certificate(&listed, 2, now).unwrap_err().to_string();
        assert!(refused.contains("was revoked") && refused.contains("cert rotate --node 2"), "{refused}");
        check_renewed(&own, &listed, 2, now).unwrap();
        let fresh = issued(&Name::Node(2));
        assert!(check_renewed(&fresh, &listed, 2, now).is_err() && check_renewed(&listed, &fresh, 2, now).is_ok());
        assert_eq!((revoked(&fresh, 2), revoked(&listed, 2).is_some()), (None, true));
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
