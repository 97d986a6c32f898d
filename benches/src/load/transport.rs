//! A connection's bytes, over TCP or over TLS 1.3. Works on blocking and on non-blocking sockets alike.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::options::Options;

/// How long the collector may take to answer while a connection is opened.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes that TLS takes before they are sent: several records, so that a write to the socket is large.
const TLS_BUFFER: usize = 256 << 10;

/// Opens connections to one collector.
pub(super) struct Dialer {
    collector: SocketAddr,
    tls: Option<Tls>,
}

/// How TLS is spoken.
struct Tls {
    roots: RootCertStore,
    name: ServerName<'static>,
    /// Where the sensors' certificates are, if they show any.
    identities: Option<PathBuf>,
}

impl Dialer {
    pub(super) fn new(options: &Options) -> Result<Dialer> {
        let tls = options.tls_ca.as_deref().map(|file| -> Result<_> {
            let name = match &options.server_name {
                Some(name) => ServerName::try_from(name.clone()).context("--server-name: no name or address")?,
                None => ServerName::from(options.collector.ip()),
            };
            Ok(Tls { roots: roots(file)?, name, identities: options.identities.clone() })
        });
        Ok(Dialer { collector: options.collector, tls: tls.transpose()? })
    }

    /// A sensor's new connection; its socket blocks.
    pub(super) fn dial(&self, sensor: u16) -> Result<Transport> {
        let to = self.collector;
        let socket = TcpStream::connect_timeout(&to, PATIENCE).with_context(|| format!("no collector at {to}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let tls = self.tls.as_ref().map(|tls| -> Result<_> {
            let mut session = Box::new(ClientConnection::new(Arc::new(tls.config(sensor)?), tls.name.clone())?);
            session.set_buffer_limit(Some(TLS_BUFFER));
            Ok(session)
        });
        Ok(Transport { socket, tls: tls.transpose()? })
    }
}

impl Tls {
    fn config(&self, sensor: u16) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
        let builder = builder.with_root_certificates(self.roots.clone());
        let Some(directory) = &self.identities else { return Ok(builder.with_no_client_auth()) };
        let file = directory.join(format!("load-{sensor}.pem"));
        let read = || format!("cannot read key and certificate in {}", file.display());
        let chain = CertificateDer::pem_file_iter(&file).and_then(Iterator::collect).with_context(read)?;
        let key = PrivateKeyDer::from_pem_file(&file).with_context(read)?;
        builder.with_client_auth_cert(chain, key).with_context(read)
    }
}

fn roots(file: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).with_context(|| format!("cannot read {}", file.display()))? {
        let certificate = certificate.with_context(|| format!("{} is no PEM file", file.display()))?;
        roots.add(certificate).with_context(|| format!("{} has a certificate that is none", file.display()))?;
    }
    ensure!(!roots.is_empty(), "{} has no certificate", file.display());
    Ok(roots)
}

/// A connection.
pub(super) struct Transport {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Transport {
    /// From here on nothing waits: what cannot be done now fails as `WouldBlock`.
    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)
    }

    /// Whether bytes that were taken still have to be sent.
    pub(super) fn is_pending(&self) -> bool {
        self.tls.as_ref().is_some_and(|session| session.wants_write())
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.tls else { return self.socket.read(buffer) };
        loop {
            match session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            if session.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            let read = session.process_new_packets();
            // Answers of the handshake, or the alert that says what was wrong: the reading decides about errors.
            let sent = send(session, &mut self.socket);
            read.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            sent.or_else(unless_would_block)?;
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(session) = &mut self.tls else { return self.socket.write(bytes) };
        send(session, &mut self.socket)?;
        // All that was taken before is sent, so there is room.
        let taken = session.writer().write(bytes)?;
        send(session, &mut self.socket).or_else(unless_would_block)?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tls.as_mut().map_or(Ok(()), |session| send(session, &mut self.socket))
    }
}

fn send(session: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(socket)?;
    }
    Ok(())
}

/// What a full socket does not take now is sent later.
pub(super) fn unless_would_block(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::WouldBlock { Ok(()) } else { Err(error) }
}
