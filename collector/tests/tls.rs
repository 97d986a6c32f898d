//! TLS as sensors and others meet it on the collector's port.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../tests/support/certificates.rs"]
mod certificates;
mod common;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use certificates::{Authority, Pair};
use common::{Server, Spool, TEN, sample, tcp_scan, wait};
use martlet_collector::config::{Config, IngestTlsConfig};
use martlet_telemetry::tls;
use martlet_window::{Origin, TrafficClass};
use martlet_wire::v1::{FRAME_HEADER_LENGTH, FrameHeader, Limits, Message, RefusalReason};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// A collector on loopback behind TLS, and who signs certificates for it.
struct Fixture {
    server: Server,
    ours: Authority,
    others: Authority,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new(wants_certificates: bool, change: impl FnOnce(&mut Config)) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let (ours, others) = (Authority::new(folder.path(), "ours"), Authority::new(folder.path(), "others"));
        let Pair { certificate, key } = ours.sign("localhost");
        let client_ca = wants_certificates.then(|| ours.file.clone());
        let server = Server::with(|config| {
            config.ingest.tls = Some(IngestTlsConfig { certificate, key, client_ca, bind_names: false });
            change(config);
        });
        Fixture { server, ours, others, _folder: folder }
    }

    fn client(&self, pair: Option<&Pair>) -> TlsClient {
        TlsClient::connect(self.server.ingest, &self.ours, pair)
    }

    fn failures(&self, reason: &str) -> f64 {
        let series = format!("martlet_collector_ingest_tls_failures_total{{reason=\"{reason}\"}}");
        sample(&self.server.metrics(), &series).unwrap()
    }
}

fn violations(server: &Server, reason: &str) -> f64 {
    sample(&server.metrics(), &format!("martlet_collector_ingest_violations_total{{reason=\"{reason}\"}}")).unwrap()
}

fn total_violations(server: &Server) -> f64 {
    let metrics = server.metrics();
    let lines = metrics.lines().filter(|line| line.starts_with("martlet_collector_ingest_violations_total{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// A hand-made sensor.
struct TlsClient(StreamOwned<ClientConnection, TcpStream>);

impl TlsClient {
    /// Connects; the handshake is made with the first bytes.
    fn connect(address: SocketAddr, trusts: &Authority, pair: Option<&Pair>) -> TlsClient {
        let builder = ClientConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(tls::VERSIONS)
            .unwrap()
            .with_root_certificates(tls::roots(&trusts.file).unwrap());
        let config = match pair {
            None => builder.with_no_client_auth(),
            Some(Pair { certificate, key }) => {
                let identity = tls::identity(certificate, key).unwrap();
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
        };
        let name = ServerName::try_from("localhost").unwrap();
        TlsClient(StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp(address)))
    }

    fn send(&mut self, message: &Message) -> std::io::Result<()> {
        let mut out = Vec::new();
        message.write(&mut out);
        self.0.write_all(&out)
    }

    fn receive(&mut self) -> std::io::Result<Message> {
        let mut head = [0; FRAME_HEADER_LENGTH];
        self.0.read_exact(&mut head)?;
        let header = FrameHeader::parse(&head, &Limits::default()).unwrap();
        let mut payload = vec![0; header.length as usize];
        self.0.read_exact(&mut payload)?;
        Ok(Message::read(header.frame_type, &payload).unwrap())
    }

    fn greet(&mut self, spool: &Spool) {
        self.send(&hello()).unwrap();
        assert!(matches!(self.receive().unwrap(), Message::Welcome { .. }));
        self.send(&Message::Open { stream: spool.stream, name: spool.name.parse().unwrap() }).unwrap();
        assert!(matches!(self.receive().unwrap(), Message::Position { .. }));
    }

    /// What the collector says to a Hello that it does not take.
    fn refused(mut self) -> rustls::Error {
        let error = self.send(&hello()).and_then(|()| self.receive()).unwrap_err();
        error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).unwrap().clone()
    }
}

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn hello() -> Message {
    Message::Hello { peer: Origin([9; 16]), name: "sensor".parse().unwrap() }
}

/// Everything that comes until the connection ends, and how long that took.
fn rest(mut stream: TcpStream) -> (Vec<u8>, Duration) {
    let (begun, mut bytes) = (Instant::now(), Vec::new());
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    (bytes, begun.elapsed())
}

#[test]
fn batches_count_with_and_without_a_certificate_of_the_sensor() {
    for wants_certificates in [false, true] {
        let mut fixture = Fixture::new(wants_certificates, |_| {});
        let pair = wants_certificates.then(|| fixture.ours.sign("sensor"));
        let mut spool = Spool::new(1, 1, "sensor");
        let mut client = fixture.client(pair.as_ref());
        client.greet(&spool);
        // Many records: 300 kB of a batch that does not compress.
        let mut seed = 1u32;
        let rows = (0..40_000u32).map(|row| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            tcp_scan(23, row * 100_000 + seed % 100_000, 1 + seed % 1000)
        });
        let frame = spool.batch(TEN, &rows.collect::<Vec<_>>());
        assert!(frame.len() > 100_000, "{}", frame.len());
        client.0.write_all(&frame).unwrap();
        assert!(matches!(client.receive().unwrap(), Message::Ack { journaled: 1, .. }));
        drop(client);
        fixture.server.wait_for_batches(TrafficClass::Real, 1);
        wait(|| sample(&fixture.server.metrics(), "martlet_collector_ingest_connections") == Some(0.0));
        assert_eq!(total_violations(&fixture.server), 0.0);
        assert_eq!(fixture.server.stop().class(TrafficClass::Real).totals.batches, 1);
    }
}

#[test]
fn small_batches_that_came_together_are_handed_over_together() {
    const BATCHES: u64 = 400;
    let fixture = Fixture::new(false, |_| {});
    let mut spool = Spool::new(1, 1, "sensor");
    let mut client = fixture.client(None);
    client.greet(&spool);
    // Each batch in a record of its own, and all of them at once on the line.
    let mut records = Vec::new();
    for batch in 0..BATCHES {
        let frame = spool.batch(TEN + 10 * i64::try_from(batch).unwrap(), &[tcp_scan(23, 1, 1)]);
        client.0.conn.writer().write_all(&frame).unwrap();
        while client.0.conn.wants_write() {
            client.0.conn.write_tls(&mut records).unwrap();
        }
    }
    let begun = Instant::now();
    client.0.sock.write_all(&records).unwrap();
    let mut acks = 0;
    loop {
        acks += 1;
        match client.receive().unwrap() {
            Message::Ack { journaled: BATCHES, .. } => break,
            Message::Ack { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    // One by one, each would have waited for more to come: 2 ms.
    let elapsed = begun.elapsed();
    assert!(acks < BATCHES / 4 && elapsed < Duration::from_millis(BATCHES), "{acks} answers in {elapsed:?}");
}

#[test]
fn a_plain_sensor_is_told_with_an_alert() {
    let fixture = Fixture::new(false, |_| {});
    let mut stream = tcp(fixture.server.ingest);
    let mut out = Vec::new();
    hello().write(&mut out);
    stream.write_all(&out).unwrap();
    let (answer, elapsed) = rest(stream);
    // An alert record that is not encrypted: 2 bytes, fatal.
    assert!(answer.starts_with(&[21, 3]) && answer.len() == 7 && answer[5] == 2, "{answer:?}");
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    wait(|| fixture.failures("not_tls") == 1.0);
    assert_eq!(violations(&fixture.server, "tls_handshake"), 1.0);
    assert_eq!(total_violations(&fixture.server), 1.0);
}

#[test]
fn tls_on_a_plain_port_is_refused_at_once() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let client = TlsClient::connect(server.ingest, &Authority::new(folder.path(), "ours"), None);
    let error = client.refused();
    assert!(matches!(error, rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)), "{error}");
    wait(|| violations(&server, "unexpected_tls") == 1.0);
    assert_eq!(total_violations(&server), 1.0);
    // As anybody else who does not speak the protocol.
    let mut stream = tcp(server.ingest);
    stream.write_all(&[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, 0, 0, 0, 0, 0]).unwrap();
    let mut refused = Vec::new();
    Message::Refused { reason: RefusalReason::Protocol }.write(&mut refused);
    assert_eq!(rest(stream).0, refused);
}

#[test]
fn sensors_without_the_right_certificate_are_not_taken() {
    use rustls::{AlertDescription as Alert, Error::AlertReceived};
    let fixture = Fixture::new(true, |_| {});
    assert_eq!(fixture.client(None).refused(), AlertReceived(Alert::CertificateRequired));
    wait(|| fixture.failures("no_certificate") == 1.0);
    let error = fixture.client(Some(&fixture.others.sign("sensor"))).refused();
    assert_eq!(error, AlertReceived(Alert::UnknownCA));
    wait(|| fixture.failures("bad_certificate") == 1.0);
    let error = fixture.client(Some(&fixture.ours.sign_until("sensor", 2021))).refused();
    assert_eq!(error, AlertReceived(Alert::CertificateExpired));
    wait(|| fixture.failures("bad_certificate") == 2.0);
    assert_eq!(violations(&fixture.server, "tls_handshake"), 3.0);
    assert_eq!(total_violations(&fixture.server), 3.0);
    assert_eq!(sample(&fixture.server.metrics(), "martlet_collector_ingest_frames_total{type=\"hello\"}"), Some(0.0));
}

#[test]
fn a_sensor_that_does_not_trust_us_is_counted() {
    let fixture = Fixture::new(false, |_| {});
    let mut client = TlsClient::connect(fixture.server.ingest, &fixture.others, None);
    client.send(&hello()).unwrap_err();
    wait(|| fixture.failures("refused") == 1.0);
}

#[test]
fn handshake_and_hello_have_one_timeout_together() {
    let fixture = Fixture::new(false, |config| config.ingest.handshake_timeout_seconds = 1);
    let timeouts = || violations(&fixture.server, "handshake_timeout");
    let soon = Duration::from_secs(5);
    // Nothing at all.
    let (bytes, elapsed) = rest(tcp(fixture.server.ingest));
    assert!(bytes.is_empty() && elapsed < soon, "{bytes:?} {elapsed:?}");
    wait(|| timeouts() == 1.0);
    // Half a greeting, byte by byte.
    let mut client = fixture.client(None);
    let mut greeting = Vec::new();
    client.0.conn.write_tls(&mut greeting).unwrap();
    let slow = &mut client.0.sock;
    let begun = Instant::now();
    for byte in &greeting[..greeting.len() / 2] {
        if slow.write_all(&[*byte]).is_err() || begun.elapsed() > soon {
            break;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    assert!(begun.elapsed() < soon, "{:?}", begun.elapsed());
    wait(|| timeouts() == 2.0);
    // A handshake, and no Hello behind it.
    let mut client = fixture.client(None);
    client.0.conn.complete_io(&mut client.0.sock).unwrap();
    assert_eq!(client.receive().unwrap(), Message::Refused { reason: RefusalReason::Idle });
    wait(|| timeouts() == 3.0);
    assert_eq!(total_violations(&fixture.server), 3.0);
}

#[test]
fn an_unfinished_handshake_counts_as_a_connection() {
    let fixture = Fixture::new(false, |config| config.ingest.max_connections = 1);
    let first = tcp(fixture.server.ingest);
    let open = || sample(&fixture.server.metrics(), "martlet_collector_ingest_connections");
    wait(|| open() == Some(1.0));
    // One too many is ended without a word, since a word would take a handshake.
    assert!(rest(tcp(fixture.server.ingest)).0.is_empty());
    let refused = "martlet_collector_ingest_connections_refused_total{reason=\"connections\"}";
    wait(|| sample(&fixture.server.metrics(), refused) == Some(1.0));
    // Who leaves without having said anything has broken no rule; in the middle of the handshake it is counted.
    first.shutdown(Shutdown::Both).unwrap();
    wait(|| open() == Some(0.0));
    assert_eq!(total_violations(&fixture.server), 0.0);
    let mut torn = tcp(fixture.server.ingest);
    torn.write_all(&[22, 3, 1]).unwrap();
    torn.shutdown(Shutdown::Write).unwrap();
    wait(|| fixture.failures("broken") == 1.0);
}

#[test]
fn a_collector_stops_amid_a_handshake() {
    let mut fixture = Fixture::new(false, |_| {});
    let _silent = tcp(fixture.server.ingest);
    wait(|| sample(&fixture.server.metrics(), "martlet_collector_ingest_connections") == Some(1.0));
    let begun = Instant::now();
    fixture.server.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// The real program, once it takes sensors: with the lines of its log from then on, and where it takes them.
fn started(data: &Path, change: impl FnOnce(&mut Command)) -> (Child, Box<dyn Iterator<Item = String>>, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_martlet-collector"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"]).arg(data);
    change(&mut command);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let ready = lines.find(|line| line.contains("sensors: ")).unwrap();
    let address = ready.split_once("sensors: ").unwrap().1.split(';').next().unwrap().parse().unwrap();
    (child, Box::new(lines), address)
}

#[test]
fn the_log_says_what_is_wrong_on_either_port() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ours");
    let Pair { certificate, key } = authority.sign("localhost");
    let over_tls = [("MARTLET_INGEST__TLS__CERTIFICATE", certificate), ("MARTLET_INGEST__TLS__KEY", key)];
    for (settings, words) in [(&over_tls[..], "what came is no TLS"), (&[], "[ingest.tls] is not set")] {
        let data = folder.path().join(words.len().to_string());
        let (mut child, mut lines, address) = started(&data, |command| {
            command.envs(settings.iter().map(|(name, path)| (name, path)));
        });
        if settings.is_empty() {
            TlsClient::connect(address, &authority, None).refused();
        } else {
            let mut out = Vec::new();
            hello().write(&mut out);
            tcp(address).write_all(&out).unwrap();
        }
        let told = lines.find(|line| line.contains("ended: ")).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(told.contains(words), "{told}");
    }
}

/// Exit status, standard output and standard error of `check` with these settings.
fn check(settings: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_martlet-collector"));
    command.arg("check").envs(settings.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Settings, and what is said of them.
type Mistake<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn check_reads_the_files_and_says_what_is_wrong() {
    const CERTIFICATE: &str = "MARTLET_INGEST__TLS__CERTIFICATE";
    const KEY: &str = "MARTLET_INGEST__TLS__KEY";
    const CLIENT_CA: &str = "MARTLET_INGEST__TLS__CLIENT_CA";
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ours");
    let (pair, other) = (authority.sign("localhost"), authority.sign("other"));
    let certificate = pair.certificate.to_str().unwrap();
    let (key, other_key) = (pair.key.to_str().unwrap(), other.key.to_str().unwrap());
    let good = [(CERTIFICATE, certificate), (KEY, key), (CLIENT_CA, authority.file.to_str().unwrap())];
    let (status, out, error) = check(&good);
    assert!(status == 0 && !error.contains("ingest.tls"), "{error}");
    let config: Config = toml::from_str(&out).unwrap();
    let wanted = IngestTlsConfig {
        certificate: pair.certificate.clone(),
        key: pair.key.clone(),
        client_ca: Some(authority.file.clone()),
        bind_names: false,
    };
    assert_eq!(config.ingest.tls, Some(wanted));

    let absent = "/nonexistent/file.pem";
    let cases: [Mistake; 6] = [
        (&[(CERTIFICATE, certificate)], &["ingest.tls.key is not set"]),
        (&[(KEY, key)], &["ingest.tls.certificate is not set"]),
        (&[(CERTIFICATE, absent), (KEY, key)], &["ingest.tls.certificate", absent, "cannot be read"]),
        (&[(CERTIFICATE, key), (KEY, key)], &["ingest.tls", key, "no certificate"]),
        (&[(CERTIFICATE, certificate), (KEY, other_key)], &["ingest.tls.key", other_key, "does not belong"]),
        (&[good[0], good[1], (CLIENT_CA, key)], &["ingest.tls.client_ca", key, "no certificate"]),
    ];
    for (settings, words) in cases {
        let (status, _, error) = check(settings);
        assert_eq!((status, error.lines().count()), (78, 1), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    }

    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&pair.key, open).unwrap();
    let (status, _, error) = check(&good);
    assert!(status == 0 && error.contains("warning") && error.contains(key), "{error}");
    let elsewhere = ("MARTLET_INGEST__LISTEN", "0.0.0.0:7460");
    let (status, _, error) = check(&[elsewhere]);
    assert!(status == 78 && error.contains("enroll.names") && error.contains("ingest.allow_plain"), "{error}");
    let (status, _, error) = check(&[elsewhere, ("MARTLET_INGEST__ALLOW_PLAIN", "true")]);
    assert!(status == 0 && error.contains("warning") && error.contains("unencrypted"), "{error}");
    let (status, _, error) = check(&[good[0], good[1], ("MARTLET_INGEST__TLS__BIND_NAMES", "true")]);
    assert!(status == 78 && error.contains("ingest.tls.client_ca"), "{error}");
}

/// What the collector shows to somebody who connects now.
fn shown(client: &mut TlsClient) -> Vec<u8> {
    client.0.conn.complete_io(&mut client.0.sock).unwrap();
    client.0.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn a_hangup_takes_certificates_that_were_replaced_and_leaves_connections_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, others) = (Authority::new(folder.path(), "ours"), Authority::new(folder.path(), "others"));
    let pair = ours.sign("localhost");
    let config = folder.path().join("c.toml");
    let files = format!("[ingest.tls]\ncertificate = {:?}\nkey = {:?}\n", pair.certificate, pair.key);
    std::fs::write(&config, &files).unwrap();
    let (mut child, mut lines, address) = started(&folder.path().join("data"), |command| {
        command.arg("--config").arg(&config);
    });
    let pid = rustix::process::Pid::from_child(&child);
    let mut hangup = |last: &str| {
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.contains(last)) {
            said.push(lines.next().unwrap());
        }
        said.join("\n")
    };

    let mut early = TlsClient::connect(address, &ours, None);
    let first = shown(&mut early);
    assert_eq!(shown(&mut TlsClient::connect(address, &ours, None)), first);
    // Another of the same authority, into the same files.
    ours.sign("localhost");
    assert_eq!(shown(&mut TlsClient::connect(address, &ours, None)), first, "nobody has said so yet");
    let said = hangup("read again; ");
    assert!(
        said.contains("the files of ingest.tls were read again") && said.contains("; 0 changed settings"),
        "{said}"
    );
    let second = shown(&mut TlsClient::connect(address, &ours, None));
    assert_ne!(second, first);
    let spool = Spool::new(1, 1, "sensor");
    early.greet(&spool);

    // One that cannot be used.
    std::fs::write(&pair.certificate, "nothing").unwrap();
    let said = hangup("all stays as it is");
    assert!(said.contains("ingest.tls.certificate") && said.contains("no certificate"), "{said}");
    assert_eq!(shown(&mut TlsClient::connect(address, &ours, None)), second);

    // Who may come, and for whom they speak: both by the settings that were read last.
    ours.sign("localhost");
    std::fs::write(&config, format!("{files}client_ca = {:?}\nbind_names = true\n", ours.file)).unwrap();
    let said = hangup("read again; ");
    for key in ["ingest.tls.client_ca", "ingest.tls.bind_names"] {
        assert!(said.contains(&format!("{key} has changed, and is in effect")), "{said}");
    }
    TlsClient::connect(address, &ours, None).refused();
    let stranger = others.sign("sensor");
    TlsClient::connect(address, &ours, Some(&stranger)).refused();
    let thief = ours.sign("thief");
    let mut client = TlsClient::connect(address, &ours, Some(&thief));
    client.send(&hello()).unwrap();
    assert_eq!(client.receive().unwrap(), Message::Refused { reason: RefusalReason::NotAllowed });
    // The one that was there before is asked for nothing.
    early.send(&Message::Open { stream: Spool::new(1, 2, "sensor").stream, name: "sensor".parse().unwrap() }).unwrap();
    assert!(matches!(early.receive().unwrap(), Message::Position { .. }));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn with_bound_names_a_sensor_speaks_for_the_name_in_its_certificate_alone() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let Pair { certificate, key } = ours.sign("localhost");
    let client_ca = Some(ours.file.clone());
    let server = Server::with(|config| {
        config.ingest.tls = Some(IngestTlsConfig { certificate, key, client_ca, bind_names: true });
    });
    let connect = |subject: &str| TlsClient::connect(server.ingest, &ours, Some(&ours.sign(subject)));
    // The name is the first label of the host name.
    for subject in ["sensor", "sensor.example.org"] {
        connect(subject).greet(&Spool::new(1, 1, "sensor"));
    }
    assert_eq!(total_violations(&server), 0.0);
    // Under another name it is not taken, neither at once nor by a stream later.
    let refused = Message::Refused { reason: RefusalReason::NotAllowed };
    let mut client = connect("thief");
    client.send(&hello()).unwrap();
    assert_eq!(client.receive().unwrap(), refused);
    wait(|| violations(&server, "other_name") == 1.0);
    let mut client = connect("sensor");
    client.send(&hello()).unwrap();
    assert!(matches!(client.receive().unwrap(), Message::Welcome { .. }));
    let other = Spool::new(2, 1, "other");
    client.send(&Message::Open { stream: other.stream, name: "other".parse().unwrap() }).unwrap();
    assert_eq!(client.receive().unwrap(), refused);
    wait(|| violations(&server, "other_name") == 2.0);
    // One that says no name at all.
    let mut client = connect("192.0.2.7");
    assert!(client.send(&hello()).and_then(|()| client.receive()).is_err());
    let no_name = "martlet_collector_ingest_tls_failures_total{reason=\"no_name\"}";
    wait(|| sample(&server.metrics(), no_name) == Some(1.0));
}
