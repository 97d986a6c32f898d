//! Just enough of an HTTP client to ask a collector for its events.

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hyper::body::{Body, Incoming};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use martlet_telemetry::tls;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Time for one answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer that is read, in bytes.
const MAX_BODY_BYTES: usize = 64 << 20;

/// What a request needs besides its URL.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    /// Sent as a bearer.
    pub(super) token: Option<String>,
    /// Certificates to trust, for https.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// A configuration of TLS that trusts the certificates in a PEM file.
pub(super) fn trust(ca: &Path) -> Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(tls::roots(ca)?).with_no_client_auth()))
}

impl Client {
    /// The body of the answer to GET.
    ///
    /// # Errors
    /// If nobody answers in time, or the answer is no 200.
    pub(super) async fn get(&self, url: &str) -> Result<Vec<u8>> {
        tokio::time::timeout(TIMEOUT, self.ask(url))
            .await
            .map_err(|_| anyhow::anyhow!("no answer within {TIMEOUT:?}"))?
    }

    async fn ask(&self, url: &str) -> Result<Vec<u8>> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
        let host = uri.host().context("the URL has no host")?.trim_matches(['[', ']']).to_owned();
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => bail!("a URL that begins with http:// or https:// is wanted"),
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        if !secure {
            return self.exchange(stream, &uri).await;
        }
        let config = self.tls.clone().context("https needs the certificates to trust: give --ca")?;
        let stream = TlsConnector::from(config).connect(ServerName::try_from(host)?, stream).await?;
        self.exchange(stream, &uri).await
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        uri: &Uri,
    ) -> Result<Vec<u8>> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender; what goes wrong shows at the request, too.
        tokio::spawn(connection);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::get(path).header("host", host).header("accept", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = sender.send_request(request.body(String::new())?).await?;
        let status = answer.status();
        let body = read(answer.into_body()).await?;
        if status != StatusCode::OK {
            let start: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            bail!("the answer is {status}: {start}");
        }
        Ok(body)
    }
}

async fn read(mut body: Incoming) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
        ensure!(bytes.len() <= MAX_BODY_BYTES, "the answer is longer than {MAX_BODY_BYTES} bytes");
    }
    Ok(bytes)
}
