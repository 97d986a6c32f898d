//! Who asks, and what they may see.
//!
//! A token says it, or that the request comes from this machine. Nobody's address is looked at beyond that.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use martlet_telemetry::http::Peer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Kind, Problem};
use crate::clock::SharedClock;
use crate::config::HttpConfig;
use crate::tokens::{Scope, Tokens};

/// Headers by which a proxy says that somebody else asks.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Where browsers say which site's page asks (Fetch Metadata); other programs do not send it.
const FETCH_SITE: &str = "sec-fetch-site";

/// What decides who may see what.
#[derive(Clone)]
pub(super) struct Access {
    tokens: Arc<Tokens>,
    clock: SharedClock,
    /// What programs of this machine may see without a token.
    loopback: Option<Scope>,
    /// Their queries.
    queries: Arc<Semaphore>,
}

/// Who asks.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) scope: Scope,
    /// The name of its token; `None` for whoever asks without one.
    pub(super) name: Option<Arc<str>>,
    queries: Arc<Semaphore>,
}

impl Caller {
    /// Anybody, who may see what is published; all of them have so many queries at a time.
    pub(super) fn anybody(most_queries: usize) -> Caller {
        Caller { scope: Scope::Public, name: None, queries: Arc::new(Semaphore::new(most_queries)) }
    }

    /// Refuses a caller who may see too little.
    pub(super) fn needs(&self, scope: Scope) -> Result<(), Problem> {
        if self.scope >= scope { Ok(()) } else { Err(Problem::forbidden(scope)) }
    }

    /// One of the queries that a caller may have at a time.
    pub(super) fn turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.queries.clone().try_acquire_owned().map_err(|_| Problem::too_many())
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Problem> {
        // Whoever was not let in does not come this far.
        parts.extensions.get::<Caller>().cloned().ok_or_else(Problem::failed)
    }
}

impl Access {
    pub(super) fn new(config: &HttpConfig, tokens: Arc<Tokens>, clock: SharedClock) -> Access {
        let queries = Arc::new(Semaphore::new(config.max_queries_per_caller));
        Access { tokens, clock, loopback: config.loopback_scope.scope(), queries }
    }

    fn caller(&self, peer: Option<Peer>, uri: &Uri, headers: &HeaderMap) -> Result<Caller, Problem> {
        let mut shown = headers.get_all(header::AUTHORIZATION).iter();
        let Some(first) = shown.next() else {
            let is_local = peer.is_some_and(|peer| peer.is_loopback) && is_called_local(uri, headers);
            return match self.loopback.filter(|_| is_local) {
                Some(scope) => Ok(Caller { scope, name: None, queries: self.queries.clone() }),
                None => Err(Problem::unauthorized(Kind::TokenMissing)),
            };
        };
        let token = first.to_str().ok().and_then(bearer).filter(|_| shown.next().is_none());
        let known = token.and_then(|token| self.tokens.find(token, self.clock.now()));
        match known {
            Some(known) => {
                Ok(Caller { scope: known.scope, name: Some(known.name.clone()), queries: known.queries.clone() })
            }
            None => Err(Problem::unauthorized(Kind::TokenInvalid)),
        }
    }
}

/// Finds out who asks wherever that matters.
pub(super) async fn identify(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    let Some(scope) = needed(request.uri().path()) else {
        return next.run(request).await;
    };
    let peer = request.extensions().get::<Peer>().copied();
    let caller = access.caller(peer, request.uri(), request.headers());
    match caller.and_then(|caller| caller.needs(scope).map(|()| caller)) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// What a caller needs at least to ask for a path. The page and the API's description hold nothing that was observed, and
/// whether the process is alive is no secret.
fn needed(path: &str) -> Option<Scope> {
    match path {
        "/metrics" => Some(Scope::Read),
        super::api::DESCRIPTION_PATH => None,
        _ => path.starts_with("/api/").then_some(Scope::Public),
    }
}

/// Whether a browser says that another site's page asks.
pub(super) fn is_of_another_site(headers: &HeaderMap) -> bool {
    let is_own = |site: &HeaderValue| site == "same-origin" || site == "none";
    !headers.get_all(FETCH_SITE).iter().all(is_own)
}

/// The token of `Bearer TOKEN` (RFC 6750).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether the request is to this machine by a name that only this machine has, not passed on by a proxy, and not asked for by
/// another site's page, which could read nothing but would take places of others. A page of another site whose name leads here
/// (DNS rebinding) sends that name.
fn is_called_local(uri: &Uri, headers: &HeaderMap) -> bool {
    if FORWARDED.iter().any(|name| headers.contains_key(*name)) || is_of_another_site(headers) {
        return false;
    }
    let mut named = headers.get_all(header::HOST).iter().map(|host| host.to_str().ok());
    let authority = uri.authority().map(|authority| Some(authority.as_str()));
    named.all(|host| host.is_some_and(is_local)) && authority.is_none_or(|host| host.is_some_and(is_local))
}

fn is_local(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        // A colon within brackets is of an address.
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_loopback = address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    port.bytes().all(|b| b.is_ascii_digit()) && (is_loopback || name.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_has_these_names() {
        for host in ["localhost", "LocalHost:7461", "127.0.0.1", "127.8.9.1:80", "[::1]:7461", "[::1]"] {
            assert!(is_local(host), "{host}");
        }
        for host in
            ["", "example.net", "localhost.example.net:7461", "127.0.0.1.example.net", "192.0.2.1:7461", "[::2]"]
        {
            assert!(!is_local(host), "{host}");
        }
        assert_eq!(bearer("bearer  x "), Some("x"));
        assert_eq!((bearer("Basic x"), bearer("Bearer")), (None, None));
    }
}
