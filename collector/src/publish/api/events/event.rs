//! `/api/v1/events/{id}`: one event with what it was called on.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::endpoint::{About, Asked, Endpoint};
use super::super::format::Table;
use super::super::parameter::Parameter;
use super::super::params::Accepts;
use super::super::validator::Validity;
use super::shapes::WholeShape;
use super::{id, no_such_event};
use crate::events::Whole;
use crate::publish::problem::Problem;
use crate::tokens::Scope;

/// The path.
pub(in super::super) struct Path;

/// One event.
#[derive(Serialize, ToSchema)]
#[serde(transparent)]
#[schema(as = OneEvent)]
pub(in super::super) struct Answer(WholeShape);

impl Answer {
    /// Of an event; see [`WholeShape::new`].
    pub(super) fn new(whole: Whole, scope: Scope, least_sources: Option<u64>) -> Answer {
        Answer(WholeShape::new(whole, scope, least_sources))
    }
}

impl Table for Answer {
    type Row = ();
    const COLUMNS: &'static [&'static str] = &[];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        std::iter::empty::<()>()
    }
}

impl Endpoint for Path {
    const ABOUT: About = About {
        name: "events/{id}",
        summary: "One event with what it was called on, and who was told",
        accepts: Accepts::without_range(&[Parameter::Format]),
        scope: Scope::Public,
        validity: Validity::Answer,
        walks: true,
    };
    type Answer = Answer;

    fn answer(asked: &Asked<'_>) -> Result<Answer, Problem> {
        let whole = asked.sources.events.event(id(asked.item)?)?;
        let least_sources = asked.query.public.map(|minimum| minimum.sources);
        // Whether there is an event that is not published is not told.
        if least_sources.is_some() && !whole.is_public() {
            return Err(no_such_event());
        }
        Ok(Answer::new(whole, asked.scope, least_sources))
    }
}
