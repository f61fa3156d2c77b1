//! Using keys: each operation starts with a key that the policy has permitted.

use std::sync::Arc;

use super::object::Call;
use crate::ck::{AttributeType, KeyType, MechanismType, ObjectClass};
use crate::error::{Code, Result, refuse};
use crate::mechanism::table::{self, Row};
use crate::mechanism::{Cipher, Digester, Key, Mechanism, Recover, Signer, Verbs, Verifier};
use crate::object::ObjectId;
use crate::object::policy::{self, Permitted, Policy, Use};
use crate::token::Started;

/// The row of a mechanism. Errors: `MechanismInvalid`.
pub(super) fn row(kind: MechanismType) -> Result<&'static Row> {
    table::find(kind).ok_or_else(|| refuse(Code::MechanismInvalid, format!("{kind} is not offered")))
}

/// A verb of a mechanism. Errors: `MechanismInvalid` where it has no such verb.
pub(super) fn verb<T>(row: &'static Row, pick: fn(&Verbs) -> Option<T>) -> Result<T> {
    pick(&row.verbs).ok_or_else(|| refuse(Code::MechanismInvalid, format!("{} cannot be used for this", row.kind)))
}

/// Gives a started operation for a permitted key.
type Make<U, O> = fn(&Mechanism, Permitted<U, Arc<Key>>) -> Result<Box<O>>;

impl Call<'_> {
    /// A key for one use: visible, of the right type, permitted.
    ///
    /// Errors: `otherwise` (a key handle code), `KeyTypeInconsistent`, `KeyFunctionNotPermitted`, `MechanismInvalid`.
    pub fn permitted<U: Use>(
        &self,
        row: &Row,
        id: ObjectId,
        otherwise: Code,
        types: Code,
    ) -> Result<(Permitted<U, Arc<Key>>, bool)> {
        let key = self.open(id, otherwise)?;
        let object = key.object();
        let is_key = [ObjectClass::PUBLIC_KEY, ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY].contains(&object.class());
        if !is_key {
            return Err(refuse(otherwise, "the object is not a key"));
        }
        let key_type = object.key_type().unwrap_or(KeyType(u64::MAX));
        if !row.keys.contains(&key_type) {
            return Err(refuse(types, format!("{} does not work with a {key_type} key", row.kind)));
        }
        let authenticate = object.flag(AttributeType::ALWAYS_AUTHENTICATE);
        let permitted = policy::permit(key, row.kind, self.facts.policy, &self.today())?;
        Ok((permitted, authenticate))
    }

    /// `YYYYMMDD`, needed under the strict policy only.
    fn today(&self) -> [u8; 8] {
        match self.facts.policy {
            Policy::Strict => date(self.partition.world.now().as_secs()),
            _ => *b"00000000",
        }
    }

    fn start<U: Use, O: ?Sized>(
        &self,
        mechanism: &Mechanism,
        key: ObjectId,
        pick: fn(&Verbs) -> Option<Make<U, O>>,
    ) -> Result<Started<Box<O>>> {
        let row = row(mechanism.kind)?;
        let make = verb(row, pick)?;
        let (permitted, authenticate) = self.permitted(row, key, Code::KeyHandleInvalid, Code::KeyTypeInconsistent)?;
        Ok(Started { operation: make(mechanism, permitted)?, authenticate })
    }

    pub fn sign(&self, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Signer>>> {
        self.start(mechanism, key, |verbs| verbs.sign)
    }

    pub fn verify(&self, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Verifier>>> {
        self.start(mechanism, key, |verbs| verbs.verify)
    }

    pub fn sign_recover(&self, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Recover>>> {
        self.start(mechanism, key, |verbs| verbs.sign_recover)
    }

    pub fn verify_recover(&self, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Recover>>> {
        self.start(mechanism, key, |verbs| verbs.verify_recover)
    }

    pub fn encrypt(&self, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Cipher>>> {
        self.start(mechanism, key, |verbs| verbs.encrypt)
    }

    pub fn decrypt(&self, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Cipher>>> {
        self.start(mechanism, key, |verbs| verbs.decrypt)
    }

    /// `C_DigestKey`.
    pub fn digest_key(&self, id: ObjectId, digest: &mut dyn Digester) -> Result<()> {
        let key = self.open(id, Code::KeyHandleInvalid)?;
        if key.object().class() != ObjectClass::SECRET_KEY {
            return Err(refuse(Code::KeyIndigestible, "only the value of a secret key can be digested"));
        }
        match key.object().secret(AttributeType::VALUE) {
            Some(value) => digest.update(value.expose()),
            None => Err(refuse(Code::KeyIndigestible, "the key has no value")),
        }
    }
}

/// The civil date of a Unix time (proleptic Gregorian calendar, UTC), as `YYYYMMDD`.
fn date(seconds: u64) -> [u8; 8] {
    // Days are counted from 1 March 0000, so that the leap day is the last of its year.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = (year_of_era + era * 400 + u64::from(month <= 2)) % 10_000;
    let number = year * 10_000 + month * 100 + day;
    std::array::from_fn(|at| b'0' + ((number / 10_u64.pow(7 - at as u32)) % 10) as u8)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, b"19700101"),
            (951_782_400, b"20000229"),
            (1_709_164_800, b"20240229"),
            (1_709_251_200, b"20240301"),
            (4_102_444_799, b"20991231"),
        ] {
            assert_eq!(&date(seconds), expected, "{seconds}");
        }
    }
}
