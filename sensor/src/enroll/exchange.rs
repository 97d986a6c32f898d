//! One connection for one certificate.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use martlet_enrol::{
    ALPN_ENROL, Answer, LENGTH_BYTES, MessageError, Refusal, Request, decode_answer, encode_request, message_length,
};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::uplink::clock;
use crate::uplink::tls::{cause, in_words};

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// Nobody listens at the collector's address, or the network is down.
    #[error("cannot connect to {collector}: {source}")]
    Unreachable {
        /// Host and port.
        collector: String,
        /// Why.
        source: std::io::Error,
    },
    /// The collector is not the one that made the token.
    #[error(
        "the collector does not have the CA that the token names: it is another collector, or somebody is in between; nothing was told to it"
    )]
    OtherAuthority,
    /// Its certificate does not hold by our clock.
    #[error(
        "the collector's certificate is not valid now: {0}; set this clock if it is wrong (`timedatectl` says who keeps it right), else the \
         collector's, and try again; nothing was told to the collector"
    )]
    Clock(String),
    /// Its certificate is for other names.
    #[error(
        "the collector's certificate is for other names than the one that was called: put it into enroll.names there, or give --server-name ({0})"
    )]
    OtherName(String),
    /// The collector speaks TLS, and offers no enrolment.
    #[error("the collector enrols no sensors: set enroll.names there")]
    NotOffered,
    /// TLS failed.
    #[error("{0}")]
    Tls(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(std::io::Error),
    /// Nothing came for too long.
    #[error("the collector does not answer")]
    Silent,
    /// The answer is none.
    #[error("the collector's answer: {0}")]
    Message(#[from] MessageError),
    /// The collector gives no certificate.
    #[error("the collector gave no certificate: {0}")]
    Refused(Refusal),
}

impl ExchangeError {
    fn of_tls(error: std::io::Error) -> ExchangeError {
        use rustls::Error;
        match cause(&error) {
            None => ExchangeError::Broken(error),
            Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => ExchangeError::OtherAuthority,
            Some(Error::InvalidCertificate(
                problem @ (CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }),
            )) => ExchangeError::Clock(dates(problem)),
            Some(Error::InvalidCertificate(
                problem @ (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }),
            )) => ExchangeError::OtherName(problem.to_string()),
            Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => ExchangeError::NotOffered,
            Some(Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
                ExchangeError::Tls("the collector does not speak TLS: set enroll.names there".to_owned())
            }
            Some(other) => ExchangeError::Tls(in_words(other)),
        }
    }
}

/// What our clock says to a certificate that the collector's CA has made.
fn dates(problem: &CertificateError) -> String {
    let behind = clock::behind(problem).map(|behind| format!("; it is {behind}")).unwrap_or_default();
    let words = clock::in_words(problem);
    words.map_or_else(|| format!("this machine's clock says {} ({problem})", time(now())), |words| words + &behind)
}

/// Asks a collector for a certificate. The configuration says the purpose, and whom to trust.
pub(super) async fn exchange(
    collector: &str,
    config: ClientConfig,
    name: ServerName<'static>,
    request: &Request,
) -> Result<Answer, ExchangeError> {
    timeout(PATIENCE, ask(collector, config, name, request)).await.map_err(|_| ExchangeError::Silent)?
}

async fn ask(
    collector: &str,
    config: ClientConfig,
    name: ServerName<'static>,
    request: &Request,
) -> Result<Answer, ExchangeError> {
    let message = encode_request(request)?;
    let unreachable = |source| ExchangeError::Unreachable { collector: collector.to_owned(), source };
    let stream = TcpStream::connect(collector).await.map_err(unreachable)?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut line = connector.connect(name, stream).await.map_err(ExchangeError::of_tls)?;
    // One that does not know the name of the purpose would take the message for something else.
    if line.get_ref().1.alpn_protocol() != Some(ALPN_ENROL) {
        return Err(ExchangeError::NotOffered);
    }
    line.write_all(&message).await.map_err(ExchangeError::of_tls)?;
    line.flush().await.map_err(ExchangeError::of_tls)?;
    let mut length = [0; LENGTH_BYTES];
    line.read_exact(&mut length).await.map_err(ExchangeError::of_tls)?;
    let mut answer = vec![0; message_length(length)?];
    line.read_exact(&mut answer).await.map_err(ExchangeError::of_tls)?;
    Ok(decode_answer(&answer)?)
}

/// Seconds since the Unix epoch, by this machine's clock.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A time as operators read it.
pub(super) fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}
