//! Tokens in memory, for each request.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::scope::Scope;
use super::secret::{Hash, PublicId, Secret};
use super::store::TokenRecord;

const DAY_SECONDS: i64 = 86_400;
const NEVER: i64 = i64::MIN;

/// A token that is in use.
pub struct Known {
    hash: Hash,
    expires: Option<i64>,
    /// Its name: who did what is done with it.
    pub name: Arc<str>,
    /// What it allows.
    pub scope: Scope,
    /// How many of its queries may wait or be computed at a time.
    pub queries: Arc<Semaphore>,
    /// The last day on which it was used, since the Unix epoch.
    used: Arc<AtomicI64>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// The tokens in use, as of a moment ago.
pub struct Tokens {
    current: ArcSwap<HashMap<PublicId, Arc<Known>>>,
    queries_per_token: usize,
}

impl Tokens {
    /// None, until they are read.
    #[must_use]
    pub fn new(queries_per_token: usize) -> Tokens {
        Tokens { current: ArcSwap::default(), queries_per_token }
    }

    /// Whether there is any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.current.load().is_empty()
    }

    /// Takes what was read in place of what is there.
    pub fn replace(&self, records: &[TokenRecord]) {
        let before = self.current.load();
        let in_use = records.iter().filter(|record| record.revoked.is_none());
        let known = in_use.map(|record| {
            // What runs goes on to count.
            let (queries, used) = match before.get(&record.public_id) {
                Some(known) => (known.queries.clone(), known.used.clone()),
                None => (Arc::new(Semaphore::new(self.queries_per_token)), Arc::new(AtomicI64::new(NEVER))),
            };
            let name = record.name.as_str().into();
            let known = Known { hash: record.hash, expires: record.expires, name, scope: record.scope, queries, used };
            (record.public_id, Arc::new(known))
        });
        self.current.store(Arc::new(known.collect()));
    }

    /// The token that a caller shows, if it is one that is in use. `now` in seconds since the Unix epoch. What a wrong one costs
    /// says nothing of how wrong it is.
    #[must_use]
    pub fn find(&self, text: &str, now: i64) -> Option<Arc<Known>> {
        // What is no token is hashed and compared all the same: its hash is nobody's.
        let read = Secret::read(text);
        let is_read = read.is_some();
        let shown = read.unwrap_or_else(Secret::nobody);
        let known = self.current.load().get(&shown.public_id()).cloned();
        let expected = known.as_ref().map_or([0; 32], |known| known.hash);
        let is_same = bool::from(shown.hash().ct_eq(&expected)) && is_read;
        let known = known.filter(|known| is_same && known.expires.is_none_or(|expires| now < expires))?;
        known.used.fetch_max(now.div_euclid(DAY_SECONDS), Relaxed);
        Some(known)
    }

    /// Which tokens were used on a day, counted from the Unix epoch.
    #[must_use]
    pub fn used_on(&self, day: i64) -> Vec<PublicId> {
        let known = self.current.load();
        let used = known.iter().filter(|(_, known)| known.used.load(Relaxed) == day);
        used.map(|(public_id, _)| *public_id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(secret: &Secret, expires: Option<i64>) -> TokenRecord {
        TokenRecord {
            public_id: secret.public_id(),
            hash: secret.hash(),
            name: "x".to_owned(),
            scope: Scope::Read,
            organisation: "default".to_owned(),
            created: 0,
            expires,
            revoked: None,
            last_used: None,
        }
    }

    #[test]
    fn only_the_whole_token_is_known_and_only_while_it_is_in_use() {
        let (ours, other) = (Secret::new(), Secret::new());
        let tokens = Tokens::new(1);
        assert!(tokens.is_empty() && tokens.find(&ours.reveal(), 0).is_none());
        tokens.replace(&[record(&ours, Some(1000))]);
        let found = tokens.find(&ours.reveal(), 999).unwrap();
        assert_eq!(found.scope, Scope::Read);
        assert!(tokens.find(&ours.reveal(), 1000).is_none());
        // The right id with a wrong secret, and one digit off.
        let (text, wrong) = (ours.reveal(), other.reveal());
        assert!(tokens.find(&format!("{}{}", &text[..25], &wrong[25..]), 0).is_none());
        let last = if text.ends_with('0') { "1" } else { "0" };
        assert!(tokens.find(&format!("{}{last}", &text[..88]), 0).is_none());
        assert!(tokens.find(&wrong, 0).is_none() && tokens.find("", 0).is_none());
        tokens.replace(&[TokenRecord { revoked: Some(5), ..record(&ours, None) }]);
        assert!(tokens.find(&ours.reveal(), 0).is_none());
    }

    #[test]
    fn use_is_noted_by_the_day_and_queries_go_on_over_a_reading() {
        let secret = Secret::new();
        let tokens = Tokens::new(1);
        tokens.replace(&[record(&secret, None)]);
        assert!(tokens.used_on(3).is_empty());
        let found = tokens.find(&secret.reveal(), 3 * DAY_SECONDS + 7).unwrap();
        assert_eq!(tokens.used_on(3), [secret.public_id()]);
        let _turn = found.queries.try_acquire().unwrap();
        tokens.replace(&[record(&secret, None)]);
        assert_eq!(tokens.used_on(3).len(), 1);
        assert!(tokens.find(&secret.reveal(), 0).unwrap().queries.try_acquire().is_err());
    }
}
