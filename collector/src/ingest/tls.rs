//! TLS in front of a connection: who makes it, and what for.

use std::io;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use martlet_enrol::{ALPN_ENROL, ALPN_INGEST, Facts, facts};
use martlet_telemetry::tls::{self, TlsFileError};
use martlet_window::SensorName;
use rustls::ServerConfig;
use rustls::server::{Acceptor, NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, ReadHalf, WriteHalf, split};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::counters::TlsFailure;
use crate::clock::SharedClock;
use crate::config::{IngestConfig, IngestTlsConfig};
use crate::enroll::{Configs, Enroller, Peer, Peers};

/// Buffer between socket and TLS, in bytes: one longest record (RFC 8446, 5.2). rustls itself reads 4 KiB at a time.
const RECORD_BUFFER: usize = 5 + (16 << 10) + 256;

/// Why TLS cannot be had as configured.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file that is always wanted is not named.
    #[error("{0} is not set: give the path of a PEM file")]
    Missing(&'static str),
    /// A file cannot be used.
    #[error("{key}: {source}")]
    File {
        /// The setting that names it.
        key: &'static str,
        /// What is wrong.
        source: TlsFileError,
    },
    /// The library refuses the files together.
    #[error("ingest.tls: {0}")]
    Refused(String),
    /// Names are to be bound, and nobody shows a certificate.
    #[error("ingest.tls.bind_names = true needs ingest.tls.client_ca: without it sensors show no certificate")]
    NothingToBind,
}

/// How connections are taken over TLS.
#[derive(Clone)]
pub struct Tls {
    /// What holds for connections that come from now on; clones see the same.
    configs: Arc<ArcSwap<Configs>>,
    names: Names,
    enroller: Option<Arc<Enroller>>,
}

/// Whose certificates name sensors.
#[derive(Clone)]
enum Names {
    /// An operator's, from files.
    Files,
    /// Those of our own CA, as long as they last.
    Own(Arc<Peers>, SharedClock),
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// The two directions of a connection that is decrypted. One read gives all records that have come, so that small batches
/// which came together are handed over together.
type Halves<IO> = (ReadHalf<Decrypted<IO>>, WriteHalf<Decrypted<IO>>);
pub(super) type Decrypted<IO> = TlsStream<BufReader<IO>>;

/// Somebody who has made the handshake.
pub(super) enum Accepted<IO> {
    /// A sensor with batches; who it is, if that binds it.
    Sensor(Halves<IO>, Option<Peer>),
    /// Somebody who wants a certificate; with what it showed, if anything.
    Enrolling(Box<Decrypted<IO>>, Option<Facts>, Arc<Enroller>),
}

impl Tls {
    /// What the configuration wants, with its files read; `None` for plain TCP.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn configured(config: &IngestConfig) -> Result<Option<Tls>, TlsError> {
        config.tls.as_ref().map(Tls::load).transpose()
    }

    fn load(config: &IngestTlsConfig) -> Result<Tls, TlsError> {
        let configs = Arc::new(ArcSwap::from_pointee(Configs::load(config)?));
        Ok(Tls { configs, names: Names::Files, enroller: None })
    }

    /// With certificates of our own CA, which change while the collector runs.
    pub(crate) fn of_own_authority(
        configs: Arc<ArcSwap<Configs>>,
        enroller: Arc<Enroller>,
        peers: Arc<Peers>,
        clock: SharedClock,
    ) -> Tls {
        Tls { configs, names: Names::Own(peers, clock), enroller: Some(enroller) }
    }

    /// Whether certificates are those of our own CA, which nobody needs to read again.
    #[must_use]
    pub const fn has_own_authority(&self) -> bool {
        self.enroller.is_some()
    }

    /// Reads the files of an operator's certificates again, for connections that come from now on.
    ///
    /// # Errors
    /// The first file that cannot be used; what was read before goes on then.
    pub fn reload(&self, config: &IngestTlsConfig) -> Result<(), TlsError> {
        self.configs.store(Arc::new(Configs::load(config)?));
        Ok(())
    }

    /// Makes the handshake; `None` if the peer left before it said anything.
    pub(super) async fn accept<IO>(&self, line: IO) -> Result<Option<Accepted<IO>>, TlsFailure>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut line = BufReader::with_capacity(RECORD_BUFFER, line);
        if line.fill_buf().await.map_or(true, <[u8]>::is_empty) {
            return Ok(None);
        }
        let begun = LazyConfigAcceptor::new(Acceptor::default(), line).await.map_err(|error| failure(&error))?;
        // Only somebody who wants to enrol may come without a certificate: all others are told in the handshake that they need one.
        let enrols = begun.client_hello().alpn().is_some_and(|mut names| names.any(|name| name == ALPN_ENROL));
        let configs = self.configs.load_full();
        let config = if enrols { configs.enrol.as_ref() } else { None };
        let config = config.unwrap_or(&configs.ingest).clone();
        let stream = begun.into_stream(config).await.map_err(|error| failure(&error))?;
        let (_, connection) = stream.get_ref();
        let shown = connection.peer_certificates().and_then(|chain| facts(chain.first()?));
        if connection.alpn_protocol() == Some(ALPN_ENROL)
            && let Some(enroller) = &self.enroller
        {
            return Ok(Some(Accepted::Enrolling(Box::new(stream), shown, enroller.clone())));
        }
        let peer = if configs.bind_names { Some(self.names.peer(shown)?) } else { None };
        Ok(Some(Accepted::Sensor(split(stream), peer)))
    }
}

impl Configs {
    /// Of an operator's certificates.
    fn load(config: &IngestTlsConfig) -> Result<Configs, TlsError> {
        let IngestTlsConfig { certificate, key, client_ca, bind_names } = config;
        let given = |key, path: &Path| if path.as_os_str().is_empty() { Err(TlsError::Missing(key)) } else { Ok(()) };
        given("ingest.tls.certificate", certificate)?;
        given("ingest.tls.key", key)?;
        let identity = tls::identity(certificate, key).map_err(|source| {
            let key = if source.path == *key { "ingest.tls.key" } else { "ingest.tls.certificate" };
            TlsError::File { key, source }
        })?;
        if *bind_names && client_ca.is_none() {
            return Err(TlsError::NothingToBind);
        }
        let verifier = client_ca.as_deref().map(verifier).transpose()?;
        let config = server_config(verifier, identity, ALPN_INGEST);
        let config = config.map_err(|error| TlsError::Refused(error.to_string()))?;
        Ok(Configs { ingest: Arc::new(config), enrol: None, bind_names: *bind_names })
    }
}

impl Names {
    /// Who somebody is, by a certificate that is valid.
    fn peer(&self, shown: Option<Facts>) -> Result<Peer, TlsFailure> {
        let shown = shown.ok_or(TlsFailure::NoName)?;
        let peer = match self {
            Names::Own(peers, clock) => Peer::of_own(&shown, peers.clone(), clock.now()),
            Names::Files => name_in(&shown).map(|name| Peer { name, watched: None }),
        };
        peer.ok_or(TlsFailure::NoName)
    }
}

/// The sensor in an operator's certificate: in a URI as in ours, or else the first label of its only host name.
fn name_in(shown: &Facts) -> Option<SensorName> {
    match (&shown.name, &shown.host_names[..]) {
        (Some(name), _) => Some(name.clone()),
        (None, [only]) => only.split('.').next()?.parse().ok(),
        (None, _) => None,
    }
}

/// How connections are taken for one purpose.
pub(crate) fn server_config(
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    identity: CertifiedKey,
    purpose: &[u8],
) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(tls::provider()).with_protocol_versions(tls::VERSIONS)?;
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    // Connections last for days, so resuming saves nothing; and it would let a sensor in without a look at whether
    // its certificate still holds.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![purpose.to_vec()];
    Ok(config)
}

fn verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = tls::roots(path).map_err(|source| TlsError::File { key: "ingest.tls.client_ca", source })?;
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
        .build()
        .map_err(|error| TlsError::Refused(error.to_string()))
}

fn failure(error: &io::Error) -> TlsFailure {
    use rustls::Error;
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => TlsFailure::NotTls,
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => TlsFailure::Incompatible,
        Some(Error::NoCertificatesPresented) => TlsFailure::NoCertificate,
        Some(Error::InvalidCertificate(rustls::CertificateError::Revoked)) => TlsFailure::Revoked,
        Some(Error::InvalidCertificate(_)) => TlsFailure::BadCertificate,
        Some(Error::AlertReceived(_)) => TlsFailure::Refused,
        Some(_) => TlsFailure::Other,
        None => TlsFailure::Broken,
    }
}
