//! `martlet-collector token`: who may ask over HTTP.

use clap::{Args, Subcommand, ValueEnum};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::place::{Place, print, table};
use super::{Failure, tell};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::store::Location;
use crate::tokens::{Grant, Scope, TokenRecord, TokenStore};

/// Make, list or revoke tokens of the HTTP API. The collector may run: it knows of a change within seconds.
#[derive(Debug, Args)]
pub(super) struct TokenArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token and print it. It cannot be shown again.
    Create {
        /// Name by which it is listed and revoked.
        #[arg(long)]
        name: String,
        /// What it allows; each scope has what those before it have.
        #[arg(long)]
        scope: ScopeChoice,
        /// Whose it is [default: default].
        #[arg(long, value_name = "NAME")]
        organisation: Option<String>,
        /// Last day on which it can be used, in UTC; without one it does not end.
        #[arg(long, value_name = "YYYY-MM-DD")]
        expires: Option<Date>,
        #[command(flatten)]
        place: Place,
    },
    /// List all tokens, also those that ended.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// End a token.
    Revoke {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScopeChoice {
    /// What is published: late, coarse, over all sensors, and nothing about few.
    Public,
    /// Everything that is counted.
    Read,
    /// Also saying what events are: their state, severity, notes, and whom they concern.
    Analyst,
    /// Also what changes the collector; nothing does yet.
    Admin,
}

/// Carries out a command.
pub(super) fn run(arguments: TokenArguments) -> Result<(), Failure> {
    let now = SystemClock.now();
    match arguments.command {
        Command::Create { name, scope, organisation, expires, place } => {
            create(name, scope, organisation, expires, &place, now)
        }
        Command::List { place } => list(&place),
        Command::Revoke { name, place } => revoke(&name, &place, now),
    }
}

fn create(
    name: String,
    scope: ScopeChoice,
    organisation: Option<String>,
    expires: Option<Date>,
    place: &Place,
    now: i64,
) -> Result<(), Failure> {
    let scope = match scope {
        ScopeChoice::Public => Scope::Public,
        ScopeChoice::Read => Scope::Read,
        ScopeChoice::Analyst => Scope::Analyst,
        ScopeChoice::Admin => Scope::Admin,
    };
    let expires = expires.map(end_of).transpose()?;
    if expires.is_some_and(|expires| expires <= now) {
        return Err(Failure::misuse("--expires: the day is over; name one that is to come"));
    }
    let secret = open(place)?.create(&Grant { name, scope, organisation, expires }, now).map_err(Failure::failed)?;
    print(&format!("{}\n", secret.reveal()))?;
    tell("keep it: only its hash is stored, so it cannot be shown again");
    Ok(())
}

fn list(place: &Place) -> Result<(), Failure> {
    let tokens = open(place)?.list().map_err(Failure::failed)?;
    let head = ["NAME", "SCOPE", "ORGANISATION", "CREATED", "LAST DAY", "REVOKED", "LAST USED"];
    print(&table(head, tokens.iter().map(row)))
}

fn row(token: &TokenRecord) -> [String; 7] {
    let day = |time: Option<i64>| time.map_or("-".to_owned(), day_of);
    let last_day = token.expires.map(|expires| expires - 1);
    let (name, scope, organisation) = (token.name.clone(), token.scope.name().to_owned(), token.organisation.clone());
    [name, scope, organisation, day_of(token.created), day(last_day), day(token.revoked), day(token.last_used)]
}

fn revoke(name: &str, place: &Place, now: i64) -> Result<(), Failure> {
    open(place)?.revoke(name, now).map_err(Failure::failed)?;
    tell(&format!("{name:?} is revoked; a collector that runs refuses it within seconds"));
    Ok(())
}

/// Whether there is a token that is in use, as far as can be seen.
pub(super) fn has_tokens(config: &Config) -> bool {
    let Location::File(path) = Location::in_directory(&config.store.data_dir) else { return false };
    let tokens = path.exists().then(|| TokenStore::open(&Location::File(path))?.list());
    tokens.is_some_and(|tokens| tokens.is_ok_and(|tokens| tokens.iter().any(|token| token.revoked.is_none())))
}

fn open(place: &Place) -> Result<TokenStore, Failure> {
    let location = place.store()?;
    TokenStore::open(&location).map_err(Failure::failed)
}

/// The end of a day in UTC, in seconds since the Unix epoch.
fn end_of(day: Date) -> Result<i64, Failure> {
    let next = day.checked_add(1.day()).and_then(|next| next.to_zoned(TimeZone::UTC));
    next.map(|next| next.timestamp().as_second()).map_err(|error| Failure::misuse(format!("--expires: {error}")))
}

fn day_of(time: i64) -> String {
    let time = Timestamp::from_second(time).map(|time| time.to_zoned(TimeZone::UTC).date().to_string());
    time.unwrap_or_else(|_| "?".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_can_be_used_on_its_last_day() {
        let day: Date = "2026-11-21".parse().unwrap();
        let end = end_of(day).ok().unwrap();
        assert_eq!(end, 1_795_305_600);
        assert_eq!((day_of(end), day_of(end - 1)), ("2026-11-22".to_owned(), "2026-11-21".to_owned()));
    }
}
