//! The uplink over TLS, against a server that is not our collector.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../tests/support/certificates.rs"]
mod certificates;
mod common;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use certificates::{Authority, Pair};
use common::{Ledger, ORIGIN, Opened, next_frame, open, push, sum};
use martlet_sensor::spool::{MemoryDisk, SpoolSettings};
use martlet_sensor::uplink::{
    self, ClientTls, ConnectionOutcome, Dial, TcpDial, TlsDial, TlsSettings, UplinkError, UplinkSettings, UplinkState,
};
use martlet_telemetry::tls;
use martlet_wire::v1::{FRAME_HEADER_LENGTH, Message, RefusalReason};
use rand::{SeedableRng, rngs::StdRng};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Longer than any exchange on loopback takes, and shorter than the uplink's own patience.
const SOON: Duration = Duration::from_secs(10);

struct Fixture {
    ours: Authority,
    others: Authority,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let (ours, others) = (Authority::new(folder.path(), "ours"), Authority::new(folder.path(), "others"));
        Fixture { ours, others, _folder: folder }
    }

    fn settings(&self) -> TlsSettings {
        TlsSettings { ca: self.ours.file.clone(), ..TlsSettings::default() }
    }

    fn showing(&self, pair: Pair) -> TlsSettings {
        TlsSettings { certificate: Some(pair.certificate), key: Some(pair.key), ..self.settings() }
    }

    /// Takes connections, with a certificate for the address by which it is called.
    fn acceptor(&self, wants_certificates: bool) -> TlsAcceptor {
        self.acceptor_with(&self.ours.sign("127.0.0.1"), wants_certificates)
    }

    fn acceptor_with(&self, pair: &Pair, wants_certificates: bool) -> TlsAcceptor {
        let builder =
            ServerConfig::builder_with_provider(tls::provider()).with_protocol_versions(tls::VERSIONS).unwrap();
        let roots = Arc::new(tls::roots(&self.ours.file).unwrap());
        let verifier = || WebPkiClientVerifier::builder_with_provider(roots, tls::provider()).build().unwrap();
        let builder = match wants_certificates {
            true => builder.with_client_cert_verifier(verifier()),
            false => builder.with_no_client_auth(),
        };
        let identity = tls::identity(&pair.certificate, &pair.key).unwrap();
        TlsAcceptor::from(Arc::new(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))))
    }
}

/// What calls: TLS with these settings, or plain TCP.
fn dialler(address: SocketAddr, settings: Option<&TlsSettings>) -> TlsDial<TcpDial> {
    let collector = address.to_string();
    let tls = settings.map(|settings| ClientTls::load(settings, &collector).unwrap());
    TlsDial { under: TcpDial { collector }, tls }
}

/// Answers one connection to its end.
async fn answer(mut line: impl AsyncRead + AsyncWrite + Unpin, ledger: &mut Ledger) {
    while let Some((frame_type, payload)) = next_frame(&mut line).await {
        let mut out = Vec::new();
        ledger.answer(frame_type, &payload).write(&mut out);
        line.write_all(&out).await.unwrap();
        line.flush().await.unwrap();
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(SOON, work).await.unwrap() })
}

/// Runs an uplink until it ends, or its first connection has.
async fn first_connection(mut dial: TlsDial<TcpDial>, spool: &mut Opened<MemoryDisk>) -> UplinkState {
    let state = UplinkState::default();
    let settings = UplinkSettings { name: "test".parse().unwrap(), origin: ORIGIN, max_rows: 1000 };
    let mut jitter = StdRng::seed_from_u64(1);
    let ended = async {
        while state.outcomes.iter().map(|(_, count)| count).sum::<u64>() == 0
            || state.connected.load(std::sync::atomic::Ordering::Relaxed)
        {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        biased;
        sent = uplink::run(&settings, &mut spool.outlet, &mut dial, &mut jitter, &state) => sent.unwrap(),
        () = ended => {}
    }
    state
}

fn spool(batches: u64) -> (Opened<MemoryDisk>, u64) {
    let mut spool = open(&MemoryDisk::default(), SpoolSettings::replay(), 100);
    let held: Vec<_> = (0..batches).map(|n| push(&mut spool.writer, n)).collect();
    spool.writer.close();
    (spool, sum(&held).packets)
}

#[test]
fn a_spool_is_delivered_over_tls_with_and_without_our_certificate() {
    let fixture = Fixture::new();
    for (settings, wants_certificates) in
        [(fixture.settings(), false), (fixture.showing(fixture.ours.sign("sensor")), true)]
    {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let acceptor = fixture.acceptor(wants_certificates);
            let (mut spool, held) = spool(3000);
            let mut ledger = Ledger::default();
            let dial = dialler(listener.local_addr().unwrap(), Some(&settings));
            let server = async {
                let (stream, _) = listener.accept().await.unwrap();
                answer(acceptor.accept(stream).await.unwrap(), &mut ledger).await;
            };
            let (state, ()) = tokio::join!(first_connection(dial, &mut spool), server);
            assert_eq!(state.outcomes.get(ConnectionOutcome::Opened), 1);
            assert_eq!(state.outcomes.get(ConnectionOutcome::Tls), 0);
            assert_eq!((ledger.counted.len(), ledger.packets()), (3000, held));
        });
    }
}

/// Calls a server that cannot be trusted: what the log says.
fn complaint(acceptor: &TlsAcceptor, settings: &TlsSettings) -> String {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut dial = dialler(listener.local_addr().unwrap(), Some(settings));
        let serve = async {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                assert!(acceptor.accept(stream).await.is_err());
            }
        };
        let call = async {
            let error = dial.dial().await.map(drop).unwrap_err();
            let state = first_connection(dial, &mut spool(1).0).await;
            assert_eq!(state.outcomes.get(ConnectionOutcome::Tls), 1);
            UplinkError::from(error).to_string()
        };
        tokio::select! {
            () = serve => unreachable!(),
            complaint = call => complaint,
        }
    })
}

#[test]
fn a_collector_that_cannot_be_trusted_is_not_spoken_to() {
    let fixture = Fixture::new();
    let settings = fixture.settings();
    let cases = [
        (fixture.others.sign("127.0.0.1"), settings.clone(), "not signed by any of uplink.tls.ca"),
        (fixture.ours.sign("collector.example"), settings.clone(), "for another name; see uplink.tls.server_name"),
        (
            fixture.ours.sign("127.0.0.1"),
            TlsSettings { server_name: Some("other.example".to_owned()), ..settings.clone() },
            "for another name",
        ),
        (fixture.ours.sign_until("127.0.0.1", 2021), settings.clone(), "has expired"),
    ];
    for (pair, settings, words) in cases {
        let told = complaint(&fixture.acceptor_with(&pair, false), &settings);
        assert!(told.contains(words), "{words}: {told}");
    }
    // Under the name that is in it the second one is taken.
    let acceptor = fixture.acceptor_with(&fixture.ours.sign("collector.example"), false);
    let settings = TlsSettings { server_name: Some("collector.example".to_owned()), ..settings };
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut dial = dialler(listener.local_addr().unwrap(), Some(&settings));
        let accept = async { acceptor.accept(listener.accept().await.unwrap().0).await };
        let (called, accepted) = tokio::join!(dial.dial(), accept);
        assert!(called.is_ok() && accepted.is_ok());
    });
}

/// What becomes of a connection whose TLS server refuses us, and what it says.
fn refusal(acceptor: &TlsAcceptor, settings: Option<&TlsSettings>) -> (UplinkState, String) {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                assert!(acceptor.accept(stream).await.is_err());
            }
        };
        let call = async {
            let state = first_connection(dialler(address, settings), &mut spool(1).0).await;
            let (mut read, _write) = dialler(address, settings).dial().await.unwrap();
            let error = read.read(&mut [0; 100]).await;
            (state, error.map_or_else(|error| UplinkError::from(error).to_string(), |_| String::new()))
        };
        tokio::select! {
            () = serve => unreachable!(),
            refused = call => refused,
        }
    })
}

#[test]
fn a_collector_that_does_not_take_our_certificate_says_so() {
    let fixture = Fixture::new();
    let acceptor = fixture.acceptor(true);
    let cases = [
        (fixture.settings(), "wants a certificate of ours"),
        (fixture.showing(fixture.others.sign("sensor")), "does not take our certificate"),
        (fixture.showing(fixture.ours.sign_until("sensor", 2021)), "(uplink.tls.certificate) has expired"),
    ];
    for (settings, words) in cases {
        let (state, told) = refusal(&acceptor, Some(&settings));
        assert_eq!(state.outcomes.get(ConnectionOutcome::Tls), 1, "{words}");
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn only_one_of_the_two_speaks_tls() {
    let fixture = Fixture::new();
    // A plain sensor sends Hello, and is answered with an alert.
    let acceptor = fixture.acceptor(false);
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dial = dialler(listener.local_addr().unwrap(), None);
        let accept = async { acceptor.accept(listener.accept().await.unwrap().0).await.is_err() };
        let mut spool = spool(1).0;
        let (state, is_refused) = tokio::join!(first_connection(dial, &mut spool), accept);
        assert!(is_refused);
        assert_eq!(state.outcomes.get(ConnectionOutcome::Tls), 1);
        assert!(UplinkError::WantsTls.to_string().contains("set uplink.tls"));
    });
    // A plain collector refuses the greeting of TLS.
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut dial = dialler(listener.local_addr().unwrap(), Some(&fixture.settings()));
        let refuse = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut out = Vec::new();
            Message::Refused { reason: RefusalReason::Protocol }.write(&mut out);
            stream.read_exact(&mut [0; FRAME_HEADER_LENGTH]).await.unwrap();
            stream.write_all(&out).await.unwrap();
            stream
        };
        let (called, _stream) = tokio::join!(dial.dial(), refuse);
        let told = UplinkError::from(called.map(drop).unwrap_err()).to_string();
        assert!(told.contains("does not speak TLS"), "{told}");
    });
}

#[test]
fn a_server_that_falls_silent_or_leaves_amid_the_handshake_is_an_error() {
    let fixture = Fixture::new();
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut dial = dialler(listener.local_addr().unwrap(), Some(&fixture.settings()));
        let leave = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read(&mut [0; 1000]).await.unwrap()
        };
        let (called, _) = tokio::join!(dial.dial(), leave);
        let told = called.map(drop).unwrap_err().to_string();
        assert!(told.contains("during the TLS handshake"), "{told}");
    });
    // Time stands still until nobody has anything to do: the uplink's patience is over at once.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dial = dialler(listener.local_addr().unwrap(), Some(&fixture.settings()));
        let begun = tokio::time::Instant::now();
        let state = first_connection(dial, &mut spool(1).0).await;
        assert_eq!(state.outcomes.get(ConnectionOutcome::Broken), 1);
        assert!(begun.elapsed() < Duration::from_secs(31), "{:?}", begun.elapsed());
    });
}

/// Settings, and what is said of them.
type Mistake<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn check_reads_the_files_and_says_what_is_wrong() {
    let fixture = Fixture::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sensor.toml");
    std::fs::write(
        &file,
        format!(
            "[sensor]\nname = \"s\"\nposture = \"silent\"\nstate_dir = {:?}\n[capture]\ninterfaces = [\"lo\"]\n[observe]\nnetworks = \
             [\"192.0.2.0/24\"]\n[uplink]\ncollector = \"collector.example:7460\"\n",
            folder.path()
        ),
    )
    .unwrap();
    let check = |settings: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_martlet-sensor"));
        command.args(["check", "--offline", "--config"]).arg(&file);
        let name = |key: &str| format!("MARTLET_UPLINK__TLS__{key}");
        let output = command.envs(settings.iter().map(|(key, value)| (name(key), value))).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (pair, other) = (fixture.ours.sign("sensor"), fixture.ours.sign("other"));
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (ca, certificate, key) = (path(&fixture.ours.file), path(&pair.certificate), path(&pair.key));
    let other_key = path(&other.key);
    let good = [("CA", &*ca), ("CERTIFICATE", &*certificate), ("KEY", &*key)];
    let (status, out, error) = check(&good);
    assert_eq!((status, error.as_str()), (0, ""));
    assert!(out.contains("[uplink.tls]") && out.contains(&ca) && out.contains(&key), "{out}");
    assert!(!out.contains("warning"), "{out}");

    let absent = "/nonexistent/file.pem";
    let cases: [Mistake; 6] = [
        (&[("SERVER_NAME", "x")], &["uplink.tls", "ca is not set"]),
        (&[("CA", absent)], &["uplink.tls", absent, "cannot be read"]),
        (&[("CA", &key)], &["uplink.tls", &key, "no certificate"]),
        (&[good[0], good[1]], &["uplink.tls", "both"]),
        (&[good[0], good[1], ("KEY", &other_key)], &["uplink.tls", &other_key, "does not belong"]),
        (&[good[0], ("SERVER_NAME", "a b")], &["uplink.tls", "a b", "server_name"]),
    ];
    for (settings, words) in cases {
        let (status, _, error) = check(settings);
        assert_eq!((status, error.lines().count()), (78, 1), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    }
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    std::fs::set_permissions(&pair.key, open).unwrap();
    let (status, out, _) = check(&good);
    assert!(status == 0 && out.contains("# warning") && out.contains("0640"), "{out}");
}
