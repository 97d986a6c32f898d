//! A sensor in order, which knows how long its batches wait for their acknowledgements; and certificates to call with.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use martlet_window::{
    BatchHeader, CaptureStatistics, Class, CountRow, Digest, Exposure, IpVersion, Kind, Marks, Origin, Posture,
    Service, TrafficClass, Window, WindowLength,
};
use martlet_wire::v1::{BatchEncoder, FRAME_HEADER_LENGTH, FrameHeader, Limits, Message, Stream};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// What carries bytes.
pub(crate) trait Line: Read + Write + Send {}
impl<T: Read + Write + Send> Line for T {}

/// What somebody shows in a handshake: a chain, and the key of its first certificate.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Of one PEM file with both, as enrolment writes it.
    pub(crate) fn read(file: &Path) -> Identity {
        let chain = CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap).collect();
        Identity { chain, key: PrivateKeyDer::from_pem_file(file).unwrap() }
    }
}

/// How somebody calls a collector whose CA is in a PEM file.
pub(crate) fn caller(ca: &Path, identity: Option<Identity>, purpose: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let pem = fs::read(ca).unwrap();
    CertificateDer::pem_slice_iter(&pem).for_each(|certificate| roots.add(certificate.unwrap()).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let builder = builder.unwrap().with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { chain, key }) => builder.with_client_auth_cert(chain, key).unwrap(),
    };
    config.alpn_protocols = vec![purpose.to_vec()];
    Arc::new(config)
}

/// The beginning of a handshake with the collectors of these tests.
pub(crate) fn session(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(config.clone(), ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST))).unwrap()
}

/// TLS over a connection.
pub(crate) fn over_tls(config: &Arc<ClientConfig>, socket: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    StreamOwned::new(session(config), socket)
}

/// One message of the collector; `None` if it ended the connection.
pub(crate) fn receive(line: &mut dyn Line) -> Option<Message> {
    let mut head = [0; FRAME_HEADER_LENGTH];
    line.read_exact(&mut head).ok()?;
    let header = FrameHeader::parse(&head, &Limits::default()).unwrap();
    let mut payload = vec![0; header.length as usize];
    line.read_exact(&mut payload).ok()?;
    Some(Message::read(header.frame_type, &payload).unwrap())
}

/// Says something, and hears the answer.
pub(crate) fn ask(line: &mut dyn Line, message: &Message) -> Option<Message> {
    let mut bytes = Vec::new();
    message.write(&mut bytes);
    line.write_all(&bytes).ok()?;
    line.flush().ok()?;
    receive(line)
}

/// A sensor with one connection, over which it sends one small batch at a time.
pub(crate) struct Honest {
    line: Box<dyn Line>,
    pub(crate) stream: Stream,
    encoder: BatchEncoder,
    pub(crate) sequence: u64,
    predecessor: Digest,
}

impl Honest {
    /// Connects, says who it is, and opens a stream.
    pub(crate) fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>, name: &str) -> Honest {
        let socket = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let line: Box<dyn Line> = match tls {
            Some(config) => Box::new(over_tls(config, socket)),
            None => Box::new(socket),
        };
        Honest::greet(line, name)
    }

    /// The same over a line that is there.
    pub(crate) fn greet(mut line: Box<dyn Line>, name: &str) -> Honest {
        let mut origin = [0; 16];
        origin[..name.len()].copy_from_slice(name.as_bytes());
        let epoch = u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
        let stream = Stream { origin: Origin(origin), epoch };
        let name: martlet_window::SensorName = name.parse().unwrap();
        let welcome = ask(&mut *line, &Message::Hello { peer: stream.origin, name: name.clone() });
        assert!(matches!(welcome, Some(Message::Welcome { .. })), "{welcome:?}");
        let position = ask(&mut *line, &Message::Open { stream, name });
        assert!(matches!(position, Some(Message::Position { expected: 0, .. })), "{position:?}");
        Honest { line, stream, encoder: BatchEncoder::new().unwrap(), sequence: 0, predecessor: Digest::default() }
    }

    /// The next batch, of so many rows, as a frame.
    pub(crate) fn batch(&mut self, rows: u32) -> Vec<u8> {
        let class =
            Class { ip: IpVersion::V4, protocol: 6, service: Service::Port(23), kind: Kind::Scan, marks: Marks::NONE };
        let row = |source| CountRow { class: class.into(), source, packets: 1, targets: 1, bytes: 40 };
        let header = BatchHeader {
            origin: self.stream.origin,
            epoch: self.stream.epoch,
            sequence: self.sequence,
            predecessor: self.predecessor,
            class: TrafficClass::Drill,
            posture: Posture::Silent,
            window: Window { start: 1_700_000_000, length: WindowLength::DEFAULT },
            part: u32::try_from(self.sequence).unwrap(),
            exposure: Some(Exposure { watched_ms: 0, ipv4_addresses: 256, ipv6_prefixes: 1 }),
            unavailable: Marks::NONE,
            capture: CaptureStatistics { frames: rows.into(), packets: rows.into(), ..CaptureStatistics::default() },
        };
        let mut frame = Vec::new();
        self.predecessor = self.encoder.write(&header, (0..u128::from(rows)).map(row), &mut frame).unwrap();
        self.sequence += 1;
        frame
    }

    /// Writes bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.line.write_all(bytes)?;
        self.line.flush()
    }

    /// What the collector says next.
    pub(crate) fn hear(&mut self) -> Option<Message> {
        receive(&mut *self.line)
    }

    /// Sends a batch, and says how long it took until it was acknowledged as journaled.
    pub(crate) fn deliver(&mut self) -> Duration {
        let frame = self.batch(20);
        let begun = Instant::now();
        self.write(&frame).unwrap();
        loop {
            match self.hear() {
                Some(Message::Ack { journaled, .. }) if journaled == self.sequence => return begun.elapsed(),
                // More was committed.
                Some(Message::Ack { .. }) => {}
                other => panic!("{other:?} instead of an acknowledgement"),
            }
        }
    }
}
