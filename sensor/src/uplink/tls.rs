//! Calling a collector over TLS.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use martlet_enrol::{ALPN_ENROL, ALPN_INGEST, Facts, facts};
use martlet_telemetry::tls::{self, TlsFileError};
use rustls::client::{ClientConfig, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, CertificateError, InvalidMessage};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, Join, ReadHalf, WriteHalf, join, split};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::clock;
use super::dial::Dial;

/// The files and the name that TLS needs.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// Certificates to trust, as PEM.
    pub ca: PathBuf,
    /// Name that the collector's certificate must be for; by default the host that is called.
    pub server_name: Option<String>,
    /// Our certificate and its chain, as PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, as PEM.
    pub key: Option<PathBuf>,
    /// Whether the sensor renews its certificate by itself, at the collector that issued it.
    pub renew: bool,
}

/// Why TLS cannot be had as configured.
#[derive(Debug, Error)]
pub enum TlsSettingsError {
    /// There is nothing to trust.
    #[error("ca is not set: give the path of a PEM file with the certificates to trust")]
    NoCa,
    /// What is renewed is replaced as a whole, which only one file can be.
    #[error("renew = true needs certificate and key to be one and the same file, as `martlet-sensor enroll` writes it")]
    Renewal,
    /// One of the two is missing.
    #[error("certificate and key are wanted both, or none of them")]
    Half,
    /// The name cannot be in a certificate.
    #[error("{0:?} is neither a host name nor an address: give the name in the collector's certificate as server_name")]
    ServerName(String),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] TlsFileError),
    /// The library refuses the files together.
    #[error("{0}")]
    Refused(rustls::Error),
}

/// How a collector is called over TLS; the files are read. Clones share what is read again.
#[derive(Clone, Debug)]
pub struct ClientTls {
    current: Arc<Mutex<Current>>,
    settings: TlsSettings,
    server_name: ServerName<'static>,
    warning: Option<String>,
}

/// What the files held when they were last read.
#[derive(Clone, Debug)]
struct Current {
    config: Arc<ClientConfig>,
    /// What our certificate says.
    own: Option<Facts>,
}

impl ClientTls {
    /// Reads the files. `collector` is the host and port that is called.
    ///
    /// # Errors
    /// The first setting or file that cannot be used.
    pub fn load(settings: &TlsSettings, collector: &str) -> Result<ClientTls, TlsSettingsError> {
        let TlsSettings { ca, server_name, certificate, key, renew } = settings;
        if ca.as_os_str().is_empty() {
            return Err(TlsSettingsError::NoCa);
        }
        if *renew && (certificate.is_none() || certificate != key) {
            return Err(TlsSettingsError::Renewal);
        }
        let current = Arc::new(Mutex::new(read(settings)?));
        let warning = key.as_deref().and_then(tls::exposed_key);
        let server_name = called(server_name.as_deref(), collector)?;
        Ok(ClientTls { current, settings: settings.clone(), server_name, warning })
    }

    /// What an operator should know although it is allowed.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// The files and the name that were given.
    #[must_use]
    pub const fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// Reads the files again; connections that are made from now on use what they hold.
    ///
    /// # Errors
    /// The first file that cannot be used. What was read before stays in use.
    pub fn reload(&self) -> Result<(), TlsSettingsError> {
        let read = read(&self.settings)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// What our certificate says, if we have one.
    #[must_use]
    pub fn own(&self) -> Option<Facts> {
        self.current().own
    }

    /// How the collector is called to renew our certificate, and its name.
    pub(crate) fn for_renewal(&self) -> (ClientConfig, ServerName<'static>) {
        let mut config = ClientConfig::clone(&self.current().config);
        config.alpn_protocols = vec![ALPN_ENROL.to_vec()];
        (config, self.server_name.clone())
    }

    fn current(&self) -> Current {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(settings: &TlsSettings) -> Result<Current, TlsSettingsError> {
    let TlsSettings { ca, certificate, key, .. } = settings;
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(tls::VERSIONS)
        .map_err(TlsSettingsError::Refused)?
        .with_root_certificates(tls::roots(ca)?);
    let (mut config, own) = match (certificate, key) {
        (None, None) => (builder.with_no_client_auth(), None),
        (Some(certificate), Some(key)) => {
            let identity = tls::identity(certificate, key)?;
            let own = identity.cert.first().and_then(|certificate| facts(certificate));
            (builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity))), own)
        }
        _ => return Err(TlsSettingsError::Half),
    };
    // A connection lasts for days: nothing is saved by resuming one.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![ALPN_INGEST.to_vec()];
    Ok(Current { config: Arc::new(config), own })
}

/// The name that a collector's certificate must be for.
pub(crate) fn called(given: Option<&str>, collector: &str) -> Result<ServerName<'static>, TlsSettingsError> {
    let name = given.unwrap_or_else(|| host(collector));
    ServerName::try_from(name.to_owned()).map_err(|_| TlsSettingsError::ServerName(name.to_owned()))
}

/// The host of a host and port; an IPv6 address without its brackets.
fn host(collector: &str) -> &str {
    let host = collector.rsplit_once(':').map_or(collector, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Calls through another dialler, and speaks TLS over that, if it is set.
#[derive(Clone, Debug)]
pub struct TlsDial<D> {
    /// What makes the connection.
    pub under: D,
    /// How TLS is spoken over it; `None` for not at all.
    pub tls: Option<ClientTls>,
}

/// What comes from a collector, over TLS or not.
pub type AnyRead = Box<dyn AsyncRead + Send + Unpin>;
/// What goes to a collector, over TLS or not.
pub type AnyWrite = Box<dyn AsyncWrite + Send + Unpin>;

impl<D: Dial> Dial for TlsDial<D>
where
    D::Read: Send + 'static,
    D::Write: Send + 'static,
{
    type Read = AnyRead;
    type Write = AnyWrite;

    async fn dial(&mut self) -> io::Result<(AnyRead, AnyWrite)> {
        let (read, write) = self.under.dial().await?;
        match &self.tls {
            None => Ok((Box::new(read), Box::new(write))),
            Some(tls) => {
                let (read, write) = handshake(tls, read, write).await?;
                Ok((Box::new(read), Box::new(write)))
            }
        }
    }
}

type Encrypted<R, W> = TlsStream<Join<R, W>>;

async fn handshake<R, W>(
    tls: &ClientTls,
    read: R,
    write: W,
) -> io::Result<(ReadHalf<Encrypted<R, W>>, WriteHalf<Encrypted<R, W>>)>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let connector = TlsConnector::from(tls.current().config);
    let connected = connector.connect(tls.server_name.clone(), join(read, write)).await;
    connected.map(split).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            io::Error::new(error.kind(), "the collector ended the connection during the TLS handshake")
        }
        _ => error,
    })
}

/// What TLS itself found wrong, if that is why reading or writing failed.
pub(crate) fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// An error of TLS in words that say what to do.
pub(crate) fn in_words(error: &rustls::Error) -> String {
    use rustls::Error;
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the collector does not speak TLS; set ingest.tls there, or leave out uplink.tls here".to_owned()
        }
        Error::InvalidCertificate(error) => certificate_in_words(error),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the collector wants a certificate of ours; set uplink.tls.certificate and uplink.tls.key".to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "our certificate (uplink.tls.certificate) has expired, or a clock is wrong; with `martlet-sensor enroll` and a new token \
             the sensor gets another"
                .to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateRevoked) => {
            "our certificate (uplink.tls.certificate) is revoked; only a new token from the collector's operator and \
             `martlet-sensor enroll` help"
                .to_owned()
        }
        Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied),
        ) => format!("the collector does not take our certificate (uplink.tls.certificate): {alert:?}"),
        other => format!("TLS with the collector failed: {other}"),
    }
}

fn certificate_in_words(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "the collector's certificate is not signed by any of uplink.tls.ca".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the collector's certificate has expired, or this machine's clock is wrong: {}", dates(error))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the collector's certificate is not valid yet, or this machine's clock is wrong: {}", dates(error))
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the collector's certificate is for another name; see uplink.tls.server_name: {error}")
        }
        _ => format!("the collector's certificate cannot be trusted: {error}"),
    }
}

fn dates(error: &CertificateError) -> String {
    clock::in_words(error).unwrap_or_else(|| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address_is_the_name_in_the_certificate() {
        for (address, name) in
            [("collector.example:7460", "collector.example"), ("192.0.2.1:1", "192.0.2.1"), ("[::1]:7460", "::1")]
        {
            assert_eq!(host(address), name);
            assert!(ServerName::try_from(name).is_ok());
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let load = |settings: &TlsSettings| ClientTls::load(settings, "collector:7460").unwrap_err().to_string();
        let mut settings = TlsSettings::default();
        assert!(load(&settings).starts_with("ca "));
        settings.ca = "/nonexistent.pem".into();
        assert!(load(&settings).contains("/nonexistent.pem"));
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
        settings.ca = folder.path().join("ca.pem");
        std::fs::write(&settings.ca, made.cert.pem()).unwrap();
        settings.certificate = Some(settings.ca.clone());
        assert!(load(&settings).contains("both"));
        settings.certificate = None;
        settings.server_name = Some("not a name".to_owned());
        assert!(load(&settings).contains("not a name"));
        settings.server_name = None;
        assert!(ClientTls::load(&settings, "collector:7460").unwrap().warning().is_none());
    }
}
