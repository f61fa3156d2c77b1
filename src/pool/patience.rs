//! Who is asked by itself, and for how long.

use std::time::Duration;

use super::call::Pool;
use super::pace::Work;
use super::retry::{is_quick, patience};
use crate::ck::AttributeType;
use crate::object::{ObjectId, Template};
use crate::token::message::{Ask, Request};

impl Pool {
    /// How long one node is waited for that is asked by itself.
    pub(super) fn patience_of_one(&self, request: &Request, round: u32) -> Duration {
        if self.is_quick_of_session(request) {
            patience(&Ask::Drop { stream: [0; 16] }, round)
        } else {
            patience(&request.ask, round)
        }
    }

    /// Whether it takes a node microseconds, and waits for nothing.
    pub(super) fn is_quick_of_session(&self, request: &Request) -> bool {
        is_quick(&request.ask) && self.is_of_session_only(request)
    }

    /// A node that is slow, on a busy machine, or far is not left for that.
    pub(super) fn longer_if_slow(&self, node: usize, patience: Duration) -> Duration {
        let (pace, now) = (&self.view.node(node).pace, self.world.elapsed());
        patience.max(pace.head_start(Work::Use) * 2).max(pace.reach(now).unwrap_or_default())
    }

    /// Whether the change is of session objects, in part at least: each node makes those by itself, so that two that do it at once make two.
    pub(super) fn is_of_session(&self, request: &Request) -> bool {
        self.places(request).into_iter().any(|is_token| !is_token)
    }

    /// Whether the change is of session objects only: the log does not hear of it.
    pub(super) fn is_of_session_only(&self, request: &Request) -> bool {
        self.is_of_session(request) && self.places(request).into_iter().all(|is_token| !is_token)
    }

    /// Of each object that the request makes, changes or destroys, whether it is a token object; of all else that changes something, that the log hears of it.
    fn places(&self, request: &Request) -> Vec<bool> {
        let is_held = |id: &ObjectId| request.token.is_some_and(|token| self.belongings.is_held(token, *id));
        let is_token = |template: &Template| template.bool(AttributeType::TOKEN);
        match &request.ask {
            Ask::Create { template }
            | Ask::Generate { template, .. }
            | Ask::Unwrap { template, .. }
            | Ask::Derive { template, .. } => vec![is_token(template) == Some(true)],
            Ask::GeneratePair { public, private, .. } => [public, private].map(|it| is_token(it) == Some(true)).to_vec(),
            Ask::Copy { id, changes } => vec![is_token(changes).unwrap_or_else(|| !is_held(id))],
            Ask::Update { id, .. } | Ask::Destroy { id } => vec![!is_held(id)],
            _ => vec![true],
        }
    }
}
