//! Telling somebody over HTTP: one request on one connection, with limits.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use martlet_telemetry::tls::{self, TlsFileError};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest time that a receiver may take, from the look-up of its name to the end of its answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is read, in bytes; nothing is done with it.
const MOST_ANSWER_BYTES: usize = 64 << 10;

/// Why a request failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The file of `events.ca_file` cannot be used.
    #[error("events.ca_file: {0}")]
    Roots(#[from] TlsFileError),
    /// TLS cannot be set up: a defect.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// The address has no host that can be called.
    #[error("the address cannot be called")]
    Address,
    /// The receiver cannot be reached, or ends the connection.
    #[error("it cannot be reached: {0}")]
    Io(#[from] std::io::Error),
    /// What it says is not HTTP.
    #[error("it does not speak HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// It took too long.
    #[error("it took longer than {} s", TIMEOUT.as_secs())]
    TooSlow,
    /// It refused.
    #[error("it answered {0}")]
    Refused(StatusCode),
}

/// What can be told over HTTP and HTTPS.
#[derive(Clone)]
pub(super) struct Client {
    /// Absent where nobody is told over TLS.
    tls: Option<TlsConnector>,
}

impl Client {
    /// With the certificates that are trusted, if any receiver needs them.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Client, ClientError> {
        let tls = match ca_file {
            None => None,
            Some(path) => {
                let config = ClientConfig::builder_with_provider(tls::provider())
                    .with_protocol_versions(tls::VERSIONS)?
                    .with_root_certificates(tls::roots(path)?)
                    .with_no_client_auth();
                Some(TlsConnector::from(Arc::new(config)))
            }
        };
        Ok(Client { tls })
    }

    /// Posts JSON. Redirections are not followed: they would take what is signed for one receiver to another.
    pub(super) async fn post(
        &self,
        uri: &Uri,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Vec<u8>,
    ) -> Result<(), ClientError> {
        match tokio::time::timeout(TIMEOUT, self.exchange(uri, headers, body)).await {
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) => Err(ClientError::Refused(status)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ClientError::TooSlow),
        }
    }

    async fn exchange(
        &self,
        uri: &Uri,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Vec<u8>,
    ) -> Result<StatusCode, ClientError> {
        let authority = uri.authority().ok_or(ClientError::Address)?;
        let is_tls = uri.scheme_str() == Some("https");
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |target| target.as_str());
        let mut request = Request::post(path)
            .header(header::HOST, authority.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("martlet-collector/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .body(Body::from(body))
            .map_err(|_| ClientError::Address)?;
        request.headers_mut().extend(headers);
        let stream = TcpStream::connect((host, port)).await?;
        match &self.tls {
            Some(connector) if is_tls => {
                let name = ServerName::try_from(host.to_owned()).map_err(|_| ClientError::Address)?;
                send(connector.connect(name, stream).await?, request).await
            }
            None if is_tls => Err(ClientError::Address),
            _ => send(stream, request).await,
        }
    }
}

async fn send<S>(stream: S, request: Request<Body>) -> Result<StatusCode, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        // The rest of an answer that is too long, or breaks off, is nothing to us.
        let _ = to_bytes(Body::new(response.into_body()), MOST_ANSWER_BYTES).await;
        Ok(status)
    };
    let driven = async {
        // The exchange ends with an error if the connection does.
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        status = exchange => status,
        () = driven => Err(ClientError::Address),
    }
}
