//! TLS in front of a connection.

use std::io;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use martlet_telemetry::tls::{self, TlsFileError};
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, ReadHalf, WriteHalf, split};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::counters::TlsFailure;
use crate::config::{IngestConfig, IngestTlsConfig};

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
}

/// How connections are taken over TLS.
#[derive(Clone)]
pub struct Tls {
    /// What holds for connections that come from now on; clones see the same.
    config: Arc<ArcSwap<ServerConfig>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// The two directions of a connection that is decrypted. One read gives all records that have come, so that small batches
/// which came together are handed over together.
type Halves<IO> = (ReadHalf<Decrypted<IO>>, WriteHalf<Decrypted<IO>>);
type Decrypted<IO> = TlsStream<BufReader<IO>>;

impl Tls {
    /// What the configuration wants, with its files read; `None` for plain TCP.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn configured(config: &IngestConfig) -> Result<Option<Tls>, TlsError> {
        config.tls.as_ref().map(Tls::load).transpose()
    }

    fn load(config: &IngestTlsConfig) -> Result<Tls, TlsError> {
        Ok(Tls { config: Arc::new(ArcSwap::new(server_config(config)?)) })
    }

    /// Reads files again, for connections that come from now on.
    ///
    /// # Errors
    /// The first file that cannot be used; what was read before goes on then.
    pub fn reload(&self, config: &IngestTlsConfig) -> Result<(), TlsError> {
        self.config.store(server_config(config)?);
        Ok(())
    }

    /// Makes the handshake; `None` if the peer left before it said anything.
    pub(super) async fn accept<IO>(&self, line: IO) -> Result<Option<Halves<IO>>, TlsFailure>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut line = BufReader::with_capacity(RECORD_BUFFER, line);
        if line.fill_buf().await.map_or(true, <[u8]>::is_empty) {
            return Ok(None);
        }
        let acceptor = TlsAcceptor::from(self.config.load_full());
        let stream = acceptor.accept(line).await.map_err(|error| failure(&error))?;
        Ok(Some(split(stream)))
    }
}

fn server_config(config: &IngestTlsConfig) -> Result<Arc<ServerConfig>, TlsError> {
    let IngestTlsConfig { certificate, key, client_ca } = config;
    let given = |key, path: &Path| if path.as_os_str().is_empty() { Err(TlsError::Missing(key)) } else { Ok(()) };
    given("ingest.tls.certificate", certificate)?;
    given("ingest.tls.key", key)?;
    let identity = tls::identity(certificate, key).map_err(|source| {
        let key = if source.path == *key { "ingest.tls.key" } else { "ingest.tls.certificate" };
        TlsError::File { key, source }
    })?;
    let builder = ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(tls::VERSIONS)
        .map_err(|error| TlsError::Refused(error.to_string()))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(verifier(path)?),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    // Connections last for days, so resuming saves nothing; and it would let a sensor in without a look at whether
    // its certificate still holds.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
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
        Some(Error::PeerIncompatible(_)) => TlsFailure::Incompatible,
        Some(Error::NoCertificatesPresented) => TlsFailure::NoCertificate,
        Some(Error::InvalidCertificate(_)) => TlsFailure::BadCertificate,
        Some(Error::AlertReceived(_)) => TlsFailure::Refused,
        Some(_) => TlsFailure::Other,
        None => TlsFailure::Broken,
    }
}
