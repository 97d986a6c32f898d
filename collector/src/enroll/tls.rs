//! TLS with certificates of our own CA, made again when something changes.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use martlet_enrol::{ALPN_ENROL, ALPN_INGEST, Authority, AuthorityError, Fingerprint, facts, fingerprint};
use martlet_telemetry::tls::provider;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use thiserror::Error as ThisError;

use super::config::EnrollConfig;
use super::file::{AuthorityFile, AuthorityFileError};
use super::lives::Lives;
use super::office::Enroller;
use super::peers::Peers;
use super::store::Standing;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::ingest::{Tls, server_config};
use crate::store::Location;

/// Before the end of the CA, in seconds, from when on the log says that it should be rotated.
const WARNING_SECONDS: i64 = 90 * 86_400;

/// Why TLS with our own CA cannot be had.
#[derive(Debug, ThisError)]
pub enum EnrollTlsError {
    /// The CA cannot be read or made.
    #[error("the collector's CA: {0}")]
    File(#[from] AuthorityFileError),
    /// A certificate cannot be made.
    #[error("enroll.names: {0}")]
    Authority(#[from] AuthorityError),
    /// The library refuses.
    #[error("TLS with the collector's own CA: {0}")]
    Tls(String),
}

/// How connections are taken: for each purpose another configuration.
#[derive(Clone, Debug)]
pub struct Configs {
    /// For batches.
    pub ingest: Arc<ServerConfig>,
    /// For enrolment, where that is offered: a certificate may be missing.
    pub enrol: Option<Arc<ServerConfig>>,
    /// Whether a sensor speaks only for the name in its certificate.
    pub bind_names: bool,
}

/// TLS with certificates of our own CA.
pub struct EnrollTls {
    settings: EnrollConfig,
    location: Location,
    file: AuthorityFile,
    /// What was last read of the file.
    text: String,
    authority: Arc<ArcSwap<Authority>>,
    peers: Arc<Peers>,
    lives: Arc<Lives>,
    configs: Arc<ArcSwap<Configs>>,
    clock: SharedClock,
    /// The CAs whose sensors are taken.
    trusted: HashSet<Fingerprint>,
    /// When the collector's certificate is made again.
    renew_at: i64,
    /// The log has said that the CA ends.
    has_warned: bool,
}

impl EnrollTls {
    /// Reads the CA of a data directory that nobody else has, and makes it if there is none.
    ///
    /// # Errors
    /// If it cannot be read or made, or `enroll.names` cannot be in a certificate.
    pub fn open(config: &Config, clock: SharedClock) -> Result<EnrollTls, EnrollTlsError> {
        let file = AuthorityFile::in_directory(&config.store.data_dir);
        let settings = config.enroll.clone();
        let now = clock.now();
        let authority = file.load_or_make(now, settings.ca_life)?;
        let text = authority.to_pem();
        let trusted = authority.roots().map(|root| fingerprint(root)).collect();
        let peers = Arc::<Peers>::default();
        let configs = make_configs(&authority, &settings, &peers, &trusted, now)?;
        tracing::info!("sensors can enrol: the CA has the fingerprint {}", authority.fingerprint());
        Ok(EnrollTls {
            renew_at: renew_at(&settings, now),
            location: Location::in_directory(&config.store.data_dir),
            authority: Arc::new(ArcSwap::from_pointee(authority)),
            configs: Arc::new(ArcSwap::from_pointee(configs)),
            has_warned: false,
            settings,
            file,
            text,
            peers,
            lives: Arc::default(),
            clock,
            trusted,
        })
    }

    /// As the gate needs it; what changes here, changes there.
    #[must_use]
    pub fn gate(&self) -> Tls {
        let (location, clock) = (self.location.clone(), self.clock.clone());
        let enroller = Enroller::new(location, self.authority.clone(), &self.settings, clock.clone());
        Tls::of_own_authority(self.configs.clone(), Arc::new(enroller), self.peers.clone(), clock)
    }

    /// How long the certificates of sensors hold; what changes here, changes there.
    #[must_use]
    pub fn lives(&self) -> Arc<Lives> {
        self.lives.clone()
    }

    pub(super) const fn location(&self) -> &Location {
        &self.location
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.now()
    }

    /// Takes what has changed: revocations, another CA on the disk, CAs that nobody needs any more, the collector's own certificate
    /// that comes of age.
    pub(super) fn refresh(&mut self, standing: Standing) -> Result<(), EnrollTlsError> {
        if self.peers.replace(standing.revoked) {
            tracing::info!("the revoked certificates of sensors have changed");
        }
        self.lives.replace(standing.lives);
        let now = self.clock.now();
        let text = self.file.text()?.ok_or(AuthorityFileError::None)?;
        let mut authority = self.authority.load_full();
        if text != self.text {
            authority = Arc::new(self.file.parse(&text)?);
            tracing::info!("the CA has changed: its fingerprint is {}", authority.fingerprint());
            self.has_warned = false;
        }
        // An earlier CA is trusted for as long as a certificate of it may be in use.
        let newest = authority.fingerprint();
        let is_trusted = |root: &Fingerprint| *root == newest || standing.in_use.contains(root);
        let trusted: HashSet<_> = authority.roots().map(|root| fingerprint(root)).filter(is_trusted).collect();
        if text != self.text || trusted != self.trusted || now >= self.renew_at {
            let configs = make_configs(&authority, &self.settings, &self.peers, &trusted, now)?;
            self.configs.store(Arc::new(configs));
            self.authority.store(authority.clone());
            self.renew_at = renew_at(&self.settings, now);
            (self.text, self.trusted) = (text, trusted);
        }
        let left = authority.not_after().saturating_sub(now);
        if left < WARNING_SECONDS && !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                "the collector's CA ends in {} days: `martlet-collector enroll rotate-ca` makes a new one",
                left / 86_400
            );
        }
        Ok(())
    }
}

/// After two thirds of the life of a certificate that is made now.
const fn renew_at(settings: &EnrollConfig, now: i64) -> i64 {
    now.saturating_add(settings.server_life.seconds() / 3 * 2)
}

fn make_configs(
    authority: &Authority,
    settings: &EnrollConfig,
    peers: &Arc<Peers>,
    trusted: &HashSet<Fingerprint>,
    now: i64,
) -> Result<Configs, EnrollTlsError> {
    let refused = |error: String| EnrollTlsError::Tls(error);
    let mut roots = RootCertStore::empty();
    for root in authority.roots().filter(|root| trusted.contains(&fingerprint(root))) {
        roots.add(root.clone()).map_err(|error| refused(error.to_string()))?;
    }
    let roots = Arc::new(roots);
    let (chain, key) = authority.serve(&settings.names, now, settings.server_life)?;
    let key = provider().key_provider.load_private_key(key).map_err(|error| refused(error.to_string()))?;
    let identity = CertifiedKey::new(chain, key);
    let make = |may_be_missing, alpn| {
        let builder = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider());
        let builder = if may_be_missing { builder.allow_unauthenticated() } else { builder };
        let inner = builder.build().map_err(|error| refused(error.to_string()))?;
        let verifier = Arc::new(NotRevoked { inner, peers: peers.clone() });
        let config = server_config(Some(verifier), identity.clone(), alpn);
        config.map(Arc::new).map_err(|error| refused(error.to_string()))
    };
    Ok(Configs { ingest: make(false, ALPN_INGEST)?, enrol: Some(make(true, ALPN_ENROL)?), bind_names: true })
}

/// Takes what another takes, unless it is revoked.
#[derive(Debug)]
struct NotRevoked {
    inner: Arc<dyn ClientCertVerifier>,
    peers: Arc<Peers>,
}

impl ClientCertVerifier for NotRevoked {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        let facts = facts(end_entity).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.peers.is_revoked(&facts.serial) {
            return Err(Error::InvalidCertificate(CertificateError::Revoked));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
