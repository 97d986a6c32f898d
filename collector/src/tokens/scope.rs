//! What a caller may see.

use serde::{Deserialize, Serialize};

/// What a caller may see; each has what those before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// What is published: late, coarse, over all sensors, and nothing about few.
    Public,
    /// Everything that is counted.
    Read,
    /// Also saying what events are: their state, severity, notes, and whom they concern.
    Analyst,
    /// Also what changes the collector; nothing does yet.
    Admin,
}

impl Scope {
    /// Every scope, ascending.
    pub const ALL: [Scope; 4] = [Scope::Public, Scope::Read, Scope::Analyst, Scope::Admin];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Public => "public",
            Scope::Read => "read",
            Scope::Analyst => "analyst",
            Scope::Admin => "admin",
        }
    }

    /// The scope of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// What programs of this machine may see without a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LoopbackScope {
    /// Nothing.
    None,
    /// As [`Scope::Public`].
    Public,
    /// As [`Scope::Read`].
    #[default]
    Read,
    /// As [`Scope::Analyst`].
    Analyst,
    /// As [`Scope::Admin`].
    Admin,
}

impl LoopbackScope {
    /// As a scope, if it is one.
    #[must_use]
    pub const fn scope(self) -> Option<Scope> {
        match self {
            LoopbackScope::None => None,
            LoopbackScope::Public => Some(Scope::Public),
            LoopbackScope::Read => Some(Scope::Read),
            LoopbackScope::Analyst => Some(Scope::Analyst),
            LoopbackScope::Admin => Some(Scope::Admin),
        }
    }
}
