//! Who is told of events: webhooks that fail first, over HTTP and HTTPS, and a real Alertmanager.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "what is skipped is said")]

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::findings::{finding, record};
use common::{Server, TEN, sample};
use martlet_collector::config::Config;
use martlet_collector::events::{AlertmanagerConfig, Severity, WebhookConfig};
use martlet_collector::tokens::LoopbackScope;
use martlet_detect::{Finding, FindingType};
use martlet_window::TrafficClass;
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A request as it came.
#[derive(Clone, Debug)]
struct Request {
    head: HashMap<String, String>,
    body: String,
}

impl Request {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A receiver that refuses the first requests.
struct Receiver {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Receiver {
    fn start(refusals: usize, wrap: impl Fn(TcpStream) -> Box<dyn Stream> + Send + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let received = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = wrap(stream.unwrap());
                let Some(request) = receive(&mut *stream) else { continue };
                let status = {
                    let mut received = received.lock().unwrap();
                    received.push(request);
                    if received.len() <= refusals { "503 Service Unavailable" } else { "204 No Content" }
                };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
            }
        });
        Receiver { address, requests }
    }

    fn plain(refusals: usize) -> Receiver {
        Receiver::start(refusals, |stream| Box::new(stream))
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits for so many requests, for as long as two retries take.
    fn wait_for(&self, count: usize) -> Vec<Request> {
        within(Duration::from_secs(40), "the requests", || self.requests().len() >= count);
        self.requests()
    }
}

fn within(limit: Duration, what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < until, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One request; `None` if the connection ends before one is whole.
fn receive(stream: &mut dyn Stream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut line) = (HashMap::new(), String::new());
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    assert!(line.starts_with("POST "), "{line}");
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => head.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let mut body = vec![0; head["content-length"].parse().unwrap()];
    reader.read_exact(&mut body).ok()?;
    Some(Request { head, body: String::from_utf8(body).unwrap() })
}

fn webhook(folder: &Path, name: &str, url: String, classes: &[&str]) -> WebhookConfig {
    let secret_file = folder.join("secret");
    std::fs::write(&secret_file, format!("{SECRET}\n")).unwrap();
    let classes = classes.iter().map(|class| serde_json::from_value(json!(class)).unwrap()).collect();
    WebhookConfig { name: name.to_owned(), url, secret_file, min_severity: Severity::Low, classes }
}

/// Whether the signature is the one that OpenSSL makes, and of about now.
fn is_signed(request: &Request) -> bool {
    let (time, digits) = request.head["martlet-signature"].strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().abs_diff(time.parse().unwrap());
    assert!(age < 120, "{age}");
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-hmac", SECRET]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut openssl = openssl.spawn().unwrap();
    openssl.stdin.take().unwrap().write_all(format!("{time}.{}", request.body).as_bytes()).unwrap();
    let said = String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap();
    said.trim_end().ends_with(digits) && digits.len() == 64
}

/// The one event of a class, with who was told of it.
fn event(server: &Server, class: &str) -> Value {
    let list = server.ok(&format!("/api/v1/events?class={class}"));
    server.ok(&format!("/api/v1/events/{}", list["events"][0]["id"].as_str().unwrap()))
}

#[test]
fn a_webhook_is_told_once_it_takes_it_and_can_tell_who_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (failing, drills) = (Receiver::plain(1), Receiver::plain(0));
    let server = Server::with(|config: &mut Config| {
        config.http.loopback_scope = LoopbackScope::Analyst;
        config.events.external_url = Some("https://martlet.example.net/".to_owned());
        config.events.webhook = vec![
            webhook(folder.path(), "csirt", format!("http://{}/in?x=1", failing.address), &["real"]),
            webhook(folder.path(), "exercise", format!("http://{}/", drills.address), &["drill"]),
        ];
    });
    let location = server.location();
    let (first, outbreak) = (finding(23, FindingType::FirstSeenPort, 0), finding(23, FindingType::Outbreak, 2));
    record(&location, TrafficClass::Real, &[first, outbreak], TEN);
    record(&location, TrafficClass::Drill, &[finding(445, FindingType::Outbreak, 2)], TEN);
    // Refused, and taken when it is tried again.
    let requests = failing.wait_for(3);
    assert!(requests.iter().all(is_signed), "{requests:?}");
    // Both changes are told, since the event is severe by the time that they are; each has its own key, the same when it is told again.
    let keys: Vec<_> = requests.iter().map(|request| request.head["martlet-delivery"].clone()).collect();
    assert_eq!((keys[0] == keys[1], keys[0] == keys[2] || keys[1] == keys[2]), (false, true), "{keys:?}");
    for request in &requests {
        let told = request.json();
        assert_eq!(
            (&told["event"]["type"], &told["event"]["class"], &told["is_drill"]),
            (&json!("outbreak"), &json!("real"), &json!(false))
        );
        assert_eq!(told["delivery"], request.head["martlet-delivery"]);
        assert_eq!(
            told["link"],
            format!("https://martlet.example.net/#event={}", told["event"]["id"].as_str().unwrap())
        );
        assert!(
            told["text"]
                .as_str()
                .unwrap()
                .starts_with("Outbreak: sources grow exponentially on tcp/23 (telnet), mark mirai."),
            "{told}"
        );
    }
    // Each class goes where it belongs, and what is none says so.
    let told = drills.wait_for(1)[0].json();
    assert!(told["text"].as_str().unwrap().starts_with("[DRILL] "), "{told}");
    assert_eq!((&told["is_drill"], &told["event"]["class"]), (&json!(true), &json!("drill")));
    within(Duration::from_secs(10), "delivered", || {
        event(&server, "real")["deliveries"].as_array().unwrap().iter().all(|delivery| !delivery["delivered"].is_null())
    });
    let deliveries = event(&server, "real")["deliveries"].clone();
    let mut attempts: Vec<_> =
        deliveries.as_array().unwrap().iter().map(|delivery| delivery["attempts"].as_u64().unwrap()).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2], "{deliveries}");
    // What an analyst says is told, too.
    let id = event(&server, "real")["id"].as_str().unwrap().to_owned();
    let said = server.post(&format!("/api/v1/events/{id}"), &[], r#"{"action":"assess","note":"a new variant"}"#);
    assert_eq!(said.status, 200);
    let told = failing.wait_for(4)[3].json();
    assert_eq!(
        (&told["action"], &told["note"], &told["by"], &told["event"]["state"]),
        (&json!("assessed"), &json!("a new variant"), &json!("local"), &json!("assessed"))
    );
    within(Duration::from_secs(10), "the metrics", || {
        let metrics = server.metrics();
        let outcome = |target: &str, outcome: &str| {
            sample(
                &metrics,
                &format!("martlet_collector_event_deliveries_total{{target=\"{target}\",outcome=\"{outcome}\"}}"),
            )
        };
        outcome("csirt", "delivered") == Some(3.0)
            && outcome("csirt", "failed") == Some(1.0)
            && outcome("exercise", "delivered") == Some(1.0)
    });
    let metrics = server.metrics();
    assert_eq!(sample(&metrics, "martlet_collector_event_deliveries_pending{target=\"csirt\"}"), Some(0.0));
    assert_eq!(
        sample(&metrics, "martlet_collector_event_records{class=\"real\",type=\"outbreak\",state=\"assessed\"}"),
        Some(1.0)
    );
    let series = "martlet_observed_event_detected_timestamp_seconds{class=\"real\",type=\"outbreak\",severity=\"high\",ip=\"4\",protocol=\"tcp\",port=\"23\",mark=\"mirai\"}";
    assert_eq!(sample(&metrics, series), Some((TEN + 7200) as f64));
    assert!(!metrics.contains(SECRET) && !server.ok("/api/v1/status").to_string().contains(SECRET));
}

#[test]
fn what_happened_while_nobody_told_is_told_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::plain(0);
    let hook = webhook(folder.path(), "csirt", format!("http://{}/", receiver.address), &["real"]);
    let with_hook = |config: &mut Config| config.events.webhook = vec![hook.clone()];
    let mut server = Server::with(with_hook);
    record(&server.location(), TrafficClass::Real, &[finding(1, FindingType::Surge, 0)], TEN);
    receiver.wait_for(1);
    let (directory, location) = (server.directory.clone(), server.location());
    server.stop();
    drop(server);
    record(&location, TrafficClass::Real, &[finding(2, FindingType::Surge, 0)], TEN);
    let server = Server::in_directory(directory, with_hook);
    let told = receiver.wait_for(2);
    assert_eq!(told[1].json()["event"]["port"], 2);
    // And nothing twice.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(receiver.requests().len(), 2);
    drop(server);
}

#[test]
fn a_receiver_is_called_over_tls_if_its_certificate_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = Arc::new(tls.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap());
    let receiver = Receiver::start(0, move |stream| {
        Box::new(rustls::StreamOwned::new(rustls::ServerConnection::new(tls.clone()).unwrap(), stream))
    });
    let port = receiver.address.port();
    let server = Server::with(|config| {
        config.events.ca_file = ca_file;
        config.events.webhook = vec![
            webhook(folder.path(), "good", format!("https://localhost:{port}/"), &["real"]),
            // The certificate is not of this name.
            webhook(folder.path(), "other", format!("https://127.0.0.1:{port}/"), &["real"]),
        ];
    });
    record(&server.location(), TrafficClass::Real, &[finding(23, FindingType::Surge, 0)], TEN);
    assert!(is_signed(&receiver.wait_for(1)[0]));
    within(Duration::from_secs(10), "the failure", || {
        let deliveries = event(&server, "real")["deliveries"].clone();
        let of =
            |target: &str| deliveries.as_array().unwrap().iter().find(|delivery| delivery["target"] == target).cloned();
        let failed = of("other")
            .is_some_and(|delivery| delivery["last_error"].as_str().is_some_and(|error| error.contains("certificate")));
        failed && of("good").is_some_and(|delivery| !delivery["delivered"].is_null())
    });
    assert_eq!(receiver.requests().len(), 1);
}

/// A program that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Alertmanager, where `scripts/test.sh` has put it; `None`, with a line that says so, where it has not.
fn alertmanager() -> Option<PathBuf> {
    let folder = std::env::var_os("MARTLET_PROMETHEUS").map(PathBuf::from);
    let found = folder.map(|folder| folder.join("prometheus-alertmanager")).filter(|path| path.exists());
    let is_required = std::env::var("CI").is_ok_and(|set| set == "true");
    assert!(found.is_some() || !is_required, "CI has an Alertmanager");
    if found.is_none() {
        eprintln!("skipped: no Alertmanager; scripts/test.sh fetches one and sets MARTLET_PROMETHEUS");
    }
    found
}

#[test]
fn alertmanager_knows_what_is_open_and_what_is_over() {
    let Some(program) = alertmanager() else { return };
    let folder = tempfile::tempdir().unwrap();
    let told = Receiver::plain(0);
    let file = folder.path().join("alertmanager.yml");
    let receivers = format!(
        "route: {{receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\n\
         receivers: [{{name: hook, webhook_configs: [{{url: 'http://{}/', send_resolved: true}}]}}]\n",
        told.address
    );
    std::fs::write(&file, receivers).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // Debian's Alertmanager reads its templates from /usr/share, where nothing was installed: it sees the folder of the unpacked
    // package there, and nobody else does.
    let share = program.parent().unwrap().with_file_name("share");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", "mount --bind \"$0\" /usr/share && exec \"$@\""]).arg(share).arg(program);
    command.arg(format!("--config.file={}", file.display())).arg(format!("--storage.path={}", folder.path().display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--cluster.listen-address=");
    let _running = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());

    let server = Server::with(|config| {
        config.http.loopback_scope = LoopbackScope::Analyst;
        config.events.external_url = Some("https://martlet.example.net".to_owned());
        config.events.alertmanager = Some(AlertmanagerConfig {
            url: format!("http://127.0.0.1:{port}/"),
            labels: [("team".to_owned(), "soc".to_owned())].into(),
            ..AlertmanagerConfig::default()
        });
    });
    // What is not severe, or an exercise, is not told.
    record(&server.location(), TrafficClass::Real, &[finding(80, FindingType::Surge, 1)], TEN);
    record(&server.location(), TrafficClass::Drill, &[finding(445, FindingType::Outbreak, 1)], TEN);
    record(
        &server.location(),
        TrafficClass::Real,
        &[finding(23, FindingType::Outbreak, 2), finding(8080, FindingType::Outbreak, 3)],
        TEN,
    );
    // Alertmanager may still be starting: then the first attempt fails.
    told.wait_for(2);
    let alerts = |told: &Receiver| -> Vec<(String, String, Value)> {
        let requests = told.requests();
        let each = requests.iter().flat_map(|request| request.json()["alerts"].as_array().unwrap().clone());
        each.map(|alert| {
            (alert["labels"]["port"].as_str().unwrap().to_owned(), alert["status"].as_str().unwrap().to_owned(), alert)
        })
        .collect()
    };
    let fired = alerts(&told);
    let mut ports: Vec<_> = fired.iter().map(|(port, status, _)| format!("{port} {status}")).collect();
    ports.sort();
    assert_eq!(ports, ["23 firing", "8080 firing"], "{fired:?}");
    let alert = &fired.iter().find(|(port, ..)| port == "23").unwrap().2;
    let labels = &alert["labels"];
    let expected = json!({
        "alertname": "MartletEventOutbreak", "severity": "high", "class": "real", "type": "outbreak", "event": labels["event"], "ip": "4",
        "protocol": "tcp", "port": "23", "mark": "mirai", "service": "telnet", "team": "soc",
    });
    assert_eq!(*labels, expected);
    assert_eq!(
        alert["generatorURL"],
        format!("https://martlet.example.net/#event={}", labels["event"].as_str().unwrap())
    );
    assert!(alert["annotations"]["description"].as_str().unwrap().contains("doubling time"), "{alert}");

    // One is resolved by an analyst, the other is over.
    let answer =
        server.post(&format!("/api/v1/events/{}", labels["event"].as_str().unwrap()), &[], r#"{"action":"resolve"}"#);
    assert_eq!(answer.status, 200);
    let over =
        Finding { ended: Some(TEN + 20_000), last_active: TEN + 15_000, ..finding(8080, FindingType::Outbreak, 3) };
    record(&server.location(), TrafficClass::Real, &[over], TEN);
    within(Duration::from_secs(40), "both resolved", || {
        let resolved: Vec<_> =
            alerts(&told).into_iter().filter(|(_, status, _)| status == "resolved").map(|(port, ..)| port).collect();
        resolved.len() == 2 && resolved.contains(&"23".to_owned()) && resolved.contains(&"8080".to_owned())
    });
}
