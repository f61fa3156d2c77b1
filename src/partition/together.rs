//! Token objects for several calls of one application, made by one change.

use super::key::generated;
use super::object::{Call, reference};
use super::origin::Place;
use super::pair::generated_pair;
use super::token::LocalToken;
use crate::ck::AttributeType;
use crate::error::{Code, Error, Result, refuse};
use crate::limits::MAKINGS_MAX;
use crate::object::Template;
use crate::object::template::{self, Context};
use crate::store::ObjectRow;
use crate::token::message::{Making, New};
use crate::token::{Access, Reference};

/// What came of several calls.
pub enum Made {
    /// All objects, in the order of the calls; of a pair the public key first.
    All(Vec<Reference>),
    /// These calls are refused, by their numbers. Nothing was made.
    Refused(Vec<(u32, Error)>),
}

/// Objects that one call makes at most: a pair.
const OBJECTS_MAX: usize = 2;
const _: () = assert!(OBJECTS_MAX * MAKINGS_MAX < 1 << 16);

impl LocalToken {
    /// Makes what several calls ask for, or nothing if one of them is refused.
    ///
    /// Errors: `ArgumentsBad`: too many calls, two of one number, or one that is for a session object; what concerns all of them.
    pub fn make(&self, access: &Access, makings: &[Making]) -> Result<Made> {
        check(makings)?;
        self.call(access)?.make(makings)
    }
}

impl Call<'_> {
    fn make(&self, makings: &[Making]) -> Result<Made> {
        if let Some(before) = self.made_before_at(places(makings))? {
            return Ok(Made::All(before));
        }
        let context = self.context()?;
        let (mut made, mut refused) = (Vec::new(), Vec::new());
        for making in makings {
            match self.rows(making, &context) {
                Ok(rows) => made.extend(rows),
                Err(error) => refused.push((making.number, error)),
            }
        }
        if refused.is_empty() {
            let (references, rows) = made.into_iter().unzip();
            self.keep_rows(rows)?;
            return Ok(Made::All(references));
        }
        // An earlier arrival may have made all of them a moment ago, before what refuses some of them now.
        self.partition.log.show()?;
        Ok(self.made_before_at(places(makings))?.map_or(Made::Refused(refused), Made::All))
    }

    /// What one call makes, sealed.
    fn rows(&self, making: &Making, context: &Context) -> Result<Vec<(Reference, ObjectRow)>> {
        let attributes = match &making.what {
            New::Created { template } => vec![template::for_create(template.duplicate(), context)?],
            New::Generated { mechanism, template } => vec![generated(mechanism, template.duplicate(), context)?],
            New::Pair { mechanism, public, private } => {
                generated_pair(mechanism, public.duplicate(), private.duplicate(), context)?.into()
            }
        };
        let first = OBJECTS_MAX * making.number as usize;
        let sealed = |(at, attributes)| {
            let object = self.checked(Place::Among(first + at), attributes)?;
            let mut row = self.row(&object)?;
            // Searches for it go by the id, which says the same. Other requests may be carried out while there are nodes of a version that goes by the index.
            row.tags.retain(|tag| tag.attribute != AttributeType::UNIQUE_ID);
            Ok((reference(&object), row))
        };
        attributes.into_iter().enumerate().map(sealed).collect()
    }
}

/// The places in the request of what is made.
fn places(makings: &[Making]) -> impl Iterator<Item = Place> {
    makings.iter().flat_map(|making| {
        let first = OBJECTS_MAX * making.number as usize;
        (first..first + making.what.count()).map(Place::Among)
    })
}

fn check(makings: &[Making]) -> Result<()> {
    let is_token = |template: &Template| template.bool(AttributeType::TOKEN) == Some(true);
    let mut taken = [false; MAKINGS_MAX];
    for making in makings {
        let number = making.number as usize;
        if taken.get_mut(number).is_none_or(|taken| std::mem::replace(taken, true)) {
            let told = format!("number {number} is another call's, or not below {MAKINGS_MAX}");
            return Err(refuse(Code::ArgumentsBad, told));
        }
        let is_for_the_token = match &making.what {
            New::Created { template } | New::Generated { template, .. } => is_token(template),
            New::Pair { public, private, .. } => is_token(public) && is_token(private),
        };
        if !is_for_the_token {
            return Err(refuse(Code::ArgumentsBad, "only token objects are made together"));
        }
    }
    Ok(())
}
