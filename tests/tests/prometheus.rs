//! A real Prometheus and a real Alertmanager on the shipped rules and dashboards, beside a collector that has nine weeks of
//! history, a live sensor, and an outbreak that is exercised.
//!
//! Minutes of rules and alerts are seconds here, and the drill is replayed ten times as fast as it is.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, thread};

use martlet_tests::capture::{ethernet, ipv4, udp};
use martlet_tests::daemon::{Collector, Daemon, eventually, get, root_with, run_ok};
use martlet_tests::metrics::documented;
use martlet_tests::program::{program, run, workspace_root};
use martlet_tests::prometheus::{Tools, tools};
use martlet_tests::python::{ask, interpreter};
use serde_json::Value;

/// The class of what is imported and replayed.
const CLASS: &str = "import";
/// How long an alert may take to fire, or to resolve.
const ALERT: Duration = Duration::from_secs(240);

/// Expressions that may be empty here, by what they contain, and why.
const EMPTY: [(&str, &str); 4] = [
    ("_last_hour_", "a sensor must have reported for an hour"),
    ("martlet_observed_event_", "nothing here says a finding"),
    ("count_over_time(", "a growth rate takes seven and a half minutes of sources"),
    ("[10m] offset 30m", "it needs the half hour before"),
];

#[test]
fn the_shipped_files_are_valid() {
    let Some(tools) = tools() else { return };
    let folder = workspace_root().join("dashboards/prometheus");
    let check = |tool: &str, arguments: &[&str]| {
        let outcome = run(Command::new(tools.path(tool)).current_dir(&folder).args(arguments), b"");
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {}", outcome.stderr);
    };
    check("promtool", &["check", "config", "prometheus.yml"]);
    check("amtool", &["check-config", "alertmanager.yml"]);
}

/// Every name of a metric in an expression that begins like ours.
fn names(expression: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words =
        expression.split(|c| !is_part(c)).filter(|word| word.starts_with("martlet_") || word.starts_with("martlet:"));
    words.map(str::to_owned).collect()
}

struct Dashboard {
    file: String,
    json: Value,
}

fn dashboards() -> Vec<Dashboard> {
    let folder = workspace_root().join("dashboards/grafana/dashboards");
    let mut found: Vec<Dashboard> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap().to_owned();
            Dashboard { file, json: serde_json::from_slice(&fs::read(&path).unwrap()).unwrap() }
        })
        .collect();
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

/// Expressions of a dashboard with what they belong to: of panels, annotations and variables (as a selector).
fn expressions(dashboard: &Dashboard) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let json = &dashboard.json;
    for panel in json["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let place = format!("{}: {} {}", dashboard.file, panel["title"], target["refId"]);
            found.push((place, target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for annotation in json["annotations"]["list"].as_array().unwrap() {
        found.push((format!("{}: annotation", dashboard.file), annotation["expr"].as_str().unwrap().to_owned()));
    }
    for variable in json["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let (selector, label) = inner.rsplit_once(", ").unwrap();
            let place = format!("{}: variable {}", dashboard.file, variable["name"]);
            found.push((place, format!("count by ({label}) ({selector})")));
        }
    }
    found
}

/// Recorded names of the shipped rules, and all expressions of rules with what they belong to.
fn rules() -> (BTreeSet<String>, Vec<(String, String)>) {
    let folder = workspace_root().join("dashboards/prometheus/rules");
    let (mut recorded, mut found) = (BTreeSet::new(), Vec::new());
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let (mut name, mut expression): (String, Option<String>) = Default::default();
        for line in text.lines() {
            let trimmed = line.trim_start();
            let indent = line.len() - trimmed.len();
            match (&mut expression, trimmed) {
                (Some(lines), _) if indent > 8 => lines.push_str(&format!("{trimmed}\n")),
                _ => {
                    found.extend(expression.take().map(|expression| (name.clone(), expression)));
                    if let Some(record) = trimmed.strip_prefix("- record: ") {
                        recorded.insert(record.to_owned());
                        name = record.to_owned();
                    } else if let Some(alert) = trimmed.strip_prefix("- alert: ") {
                        name = alert.to_owned();
                    } else if let Some(rest) = trimmed.strip_prefix("expr: ") {
                        expression = Some(if rest == "|" { String::new() } else { rest.to_owned() });
                    }
                }
            }
        }
        found.extend(expression.map(|expression| (name, expression)));
    }
    (recorded, found)
}

#[test]
fn dashboards_and_rules_name_only_what_there_is() {
    let (recorded, rules) = rules();
    assert!(recorded.len() > 8 && rules.len() > 20, "{} {}", recorded.len(), rules.len());
    let documented = documented();
    let (mut uids, mut count) = (BTreeSet::new(), 0);
    let dashboards = dashboards();
    assert_eq!(dashboards.len(), 6);
    let of_dashboards = dashboards.iter().flat_map(expressions);
    for (place, expression) in rules.into_iter().chain(of_dashboards) {
        count += 1;
        for name in names(&expression) {
            let family = name.strip_suffix("_bucket").unwrap_or(&name);
            assert!(recorded.contains(&name) || documented.contains_key(family), "{place}: {name}");
        }
    }
    assert!(count > 100, "{count}");
    for Dashboard { file, json } in &dashboards {
        assert!(uids.insert(json["uid"].as_str().unwrap().to_owned()), "{file}: its uid is another's");
        assert_eq!((json.get("id"), &json["schemaVersion"]), (None, &Value::from(39)), "{file}");
        let text = json.to_string();
        assert!(!text.contains("\"uid\":\"prometheus\"") && text.contains("${datasource}"), "{file}");
        for panel in json["panels"].as_array().unwrap() {
            for key in ["title", "description"] {
                assert!(panel[key].as_str().is_some_and(|text| !text.is_empty()), "{file}: {panel}");
            }
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{file}: {panel}");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{file}");
        }
    }
}

#[test]
fn the_mixin_has_the_same_dashboards_and_rules() {
    let Some(python) = interpreter() else { return };
    let file = workspace_root().join("dashboards/mixin.libsonnet");
    let mixin = ask(&python, "mixin.py", &[file.as_os_str()]);
    let found = mixin["dashboards"].as_object().unwrap();
    let shipped = dashboards();
    assert_eq!(found.len(), shipped.len());
    assert!(shipped.iter().all(|Dashboard { file, json }| found[file] == *json));
    let expressions = |of: &str| -> Vec<String> {
        let groups = mixin[of]["groups"].as_array().unwrap().iter();
        let all = groups.flat_map(|group| group["rules"].as_array().unwrap());
        all.map(|rule| rule["expr"].as_str().unwrap().split_whitespace().collect()).collect()
    };
    let mut found = [expressions("rules"), expressions("alerts")].concat();
    let mut shipped: Vec<String> =
        rules().1.into_iter().map(|(_, expression)| expression.split_whitespace().collect()).collect();
    found.sort_unstable();
    shipped.sort_unstable();
    assert_eq!(found, shipped);
}

/// What Alertmanager has sent: name, status, sensor and port of each alert.
type Received = Arc<Mutex<Vec<(String, String, String)>>>;

/// Takes what Alertmanager sends.
fn receiver() -> (SocketAddr, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, received) = (listener.local_addr().unwrap(), Received::default());
    let taken = received.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let message: Value = serde_json::from_slice(&body).unwrap();
            for alert in message["alerts"].as_array().unwrap() {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let labels = &alert["labels"];
                let of = format!("{}{}", text(&labels["sensor"]), text(&labels["port"]));
                taken.lock().unwrap().push((text(&labels["alertname"]), text(&alert["status"]), of));
            }
            let _ = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (address, received)
}

fn wait_for(received: &Received, alert: (&str, &str, &str)) {
    let begun = Instant::now();
    let alert = (alert.0.to_owned(), alert.1.to_owned(), alert.2.to_owned());
    while !received.lock().unwrap().contains(&alert) {
        assert!(begun.elapsed() < ALERT, "waited in vain for {alert:?}: {:?}", received.lock().unwrap());
        thread::sleep(Duration::from_millis(200));
    }
}

/// A tool's HTTP server, and where it is.
struct Server {
    _daemon: Daemon,
    address: SocketAddr,
}

impl Server {
    /// Debian's Alertmanager reads its templates from /usr/share, where nothing was installed: it sees the folder of the unpacked
    /// package there, and nobody else does.
    fn start(path: PathBuf, arguments: &[String]) -> Server {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let share = path.parent().unwrap().with_file_name("share");
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", "mount --bind \"$0\" /usr/share && exec \"$@\""]).arg(share).arg(path);
        command.args(arguments).arg(format!("--web.listen-address={address}")).arg("--log.level=error");
        let server = Server { _daemon: Daemon::start(&mut command), address };
        eventually("a server to be ready", || get(address, "/-/ready").is_some_and(|(status, _)| status == 200));
        server
    }

    /// The values of an instant query, or what is wrong with it.
    fn query(&self, expression: &str) -> Result<Vec<f64>, String> {
        let encode =
            |byte: u8| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { format!("%{byte:02X}") };
        let query: String = expression.bytes().map(encode).collect();
        // The answer comes in chunks otherwise.
        let outcome = run(
            Command::new("curl").args([
                "--silent",
                "--show-error",
                &format!("http://{}/api/v1/query?query={query}", self.address),
            ]),
            b"",
        );
        let answer: Value = serde_json::from_slice(&outcome.stdout)
            .unwrap_or_else(|error| panic!("{expression}: {error} {}", outcome.stderr));
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let result = &answer["data"]["result"];
        let value = |value: &Value| value[1].as_str().unwrap().parse::<f64>().unwrap();
        Ok(match answer["data"]["resultType"].as_str() {
            Some("vector") => result.as_array().unwrap().iter().map(|sample| value(&sample["value"])).collect(),
            _ => vec![value(result)],
        })
    }
}

/// Rules as they are shipped, but with minutes that are seconds where nothing else depends on them.
fn hasty(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for name in ["martlet-recording.yml", "martlet-alerts.yml"] {
        let text = fs::read_to_string(workspace_root().join("dashboards/prometheus/rules").join(name)).unwrap();
        let (before, rest) = text.split_once("- alert: MartletSourcesGrow").unwrap_or((&text, ""));
        let (grow, after) = rest.split_once("- alert:").unwrap_or((rest, ""));
        // The drill runs ten times as fast as it is.
        let grow = grow.replace("[2m]", "[12s]").replace("offset 5m", "offset 30s").replace("offset 10m", "offset 60s");
        let text =
            if rest.is_empty() { text } else { format!("{before}- alert: MartletSourcesGrow{grow}- alert:{after}") };
        let lines = text.lines().map(|line| match line.trim_start() {
            trimmed if trimmed.starts_with("for: ") => line.replace(trimmed, "for: 5s"),
            trimmed if trimmed.starts_with("interval: ") => line.replace(trimmed, "interval: 2s"),
            _ => line.to_owned(),
        });
        fs::write(folder.join(name), lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    }
}

fn drill(file: &Path, start: SystemTime, more: &[&str]) {
    let seconds = start.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let start = run_ok("date", &["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"]);
    run_ok(
        program("martlet-drill"),
        &[&["--quiet", "--start", start.trim(), "--out", file.to_str().unwrap()], more].concat(),
    );
}

/// Options of a drill with an outbreak on udp/1434: its begin, scans a second, and hosts that are infected at first and at last.
fn outbreak_of<'a>(
    duration: &'a str,
    seed: &'a str,
    [start, rate, infected, vulnerable]: [&'a str; 4],
) -> [&'a str; 18] {
    [
        ["--duration", duration],
        ["--seed", seed],
        ["--prefix", "198.18.0.0/16"],
        ["--rate", "3"],
        ["--outbreak", "udp/1434"],
        ["--outbreak-start", start],
        ["--scan-rate", rate],
        ["--infected", infected],
        ["--vulnerable", vulnerable],
    ]
    .as_flattened()
    .try_into()
    .unwrap()
}

/// The ends of a cable: what is sent into one comes out of the other, which the sensor watches.
const SENDING: &str = "mtl-out";
const WATCHED: &str = "mtl-in";

struct Link;

impl Link {
    fn make() -> Link {
        run_ok("ip", &["link", "add", SENDING, "type", "veth", "peer", "name", WATCHED]);
        for end in [SENDING, WATCHED] {
            run_ok("ip", &["link", "set", end, "up"]);
        }
        Link
    }

    /// A frame as it is; nothing of it is routed.
    fn send(&self, frame: &[u8]) {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        let program = "import socket, sys; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind((sys.argv[1], 0)); s.send(bytes.fromhex(sys.argv[2]))";
        run_ok("python3", &["-c", program, SENDING, &hex]);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", SENDING]).status();
    }
}

fn sensor(folder: &Path, collector: &Collector, http: SocketAddr) -> Daemon {
    let config = format!(
        "[sensor]\nname = \"osaka\"\nposture = \"silent\"\nstate_dir = {:?}\n[capture]\ninterfaces = [\"{WATCHED}\"]\n[observe]\n\
         networks = [\"198.18.7.0/24\"]\n[window]\nseconds = 1\n[uplink]\ncollector = \"{}\"\n[http]\nlisten = \"{http}\"\n[log]\nfilter = \"warn\"\n",
        folder.join("sensor"),
        collector.ingest
    );
    let path = folder.join("sensor.toml");
    fs::write(&path, config).unwrap();
    Daemon::start(Command::new(program("martlet-sensor")).args(["run", "--config"]).arg(path))
}

/// Everything, in one test: what takes long here is waiting, and all wait for the same.
#[test]
fn every_expression_has_an_answer_and_alerts_fire_and_resolve() {
    let Some(tools) = tools() else { return };
    if !root_with(&["curl", "unshare", "ip", "python3"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (data, past, week, outbreak) =
        (folder.join("data"), folder.join("past.pcap"), folder.join("week.pcap"), folder.join("outbreak.pcap"));
    let now = SystemTime::now();
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    // Nine weeks up to half an hour ago, and then twenty minutes in which a worm spreads on a port of its own.
    drill(
        &past,
        now - hours(63 * 24) - hours(1),
        &[
            "--duration",
            "1512h",
            "--packets",
            "40000",
            "--outbreak",
            "none",
            "--seed",
            "3",
            "--prefix",
            "198.18.0.0/16",
        ],
    );
    // A week ago the port was scanned, too, by as many all the time.
    drill(&week, now - hours(7 * 24 + 2), &outbreak_of("3h", "6", ["1m", "100", "400", "401"]));
    drill(&outbreak, now - Duration::from_secs(1500), &outbreak_of("20m", "4", ["2m", "4000", "20", "5000"]));
    let quick =
        [("MARTLET_ARCHIVE__SOURCE_DAYS", Path::new("0")), ("MARTLET_LIVE__SILENT_GRACE_SECONDS", Path::new("3"))];
    let mut import = Command::new(program("martlet-collector"));
    import
        .envs(quick)
        .args(["import", "--sensor", "kyoto", "--observe", "198.18.0.0/16", "--data-dir"])
        .arg(&data)
        .args([&past, &week]);
    let outcome = run(&mut import, b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let collector = Collector::start_in(&data, &quick);

    let blocks = folder.join("prometheus");
    fs::create_dir(&blocks).unwrap();
    backfill(&tools, &data, &blocks);
    let (webhook, received) = receiver();
    let (alertmanager, prometheus, sensor_http) = servers(&tools, folder, &collector, webhook);
    let link = Link::make();
    let live = sensor(folder, &collector, sensor_http);
    eventually("packets of the live sensor", || {
        link.send(&ethernet(0x0800, &ipv4(17, [9, 9, 9, 9], [198, 18, 7, 9], &udp(40_000, 53, b"?"))));
        !prometheus.query("martlet_observed_packets_total{class=\"real\",protocol=\"udp\"} > 0").unwrap().is_empty()
    });

    let ingest = collector.ingest.to_string();
    let mut replay = Command::new(program("martlet-sensor"));
    replay.args([
        "replay",
        "--collector",
        &ingest,
        "--sensor",
        "kyoto",
        "--class",
        CLASS,
        "--observe",
        "198.18.0.0/16",
        "--speed",
        "10",
    ]);
    let replaying = Daemon::start(replay.arg(&outbreak));
    wait_for(&received, ("MartletSourcesGrow", "firing", "1434"));

    // A sensor that is killed is silent, and one that comes back is not.
    drop(live);
    wait_for(&received, ("MartletSensorSilent", "firing", "osaka"));
    let live = sensor(folder, &collector, sensor_http);
    wait_for(&received, ("MartletSensorSilent", "resolved", "osaka"));
    every_expression(&prometheus);
    wait_for(&received, ("MartletSourcesGrow", "resolved", "1434"));
    drop((replaying, live, prometheus, alertmanager));
    assert_eq!(collector.stop(), Some(0));
}

fn backfill(tools: &Tools, data: &Path, blocks: &Path) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let day = |seconds: u64| run_ok("date", &["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%d"]).trim().to_owned();
    let mut command = Command::new(workspace_root().join("dashboards/prometheus/backfill.sh"));
    command.env("MARTLET_COLLECTOR", program("martlet-collector")).env("PROMTOOL", tools.path("promtool"));
    command.args([
        "--from",
        &day(now - 70 * 86_400),
        "--to",
        &day(now + 86_400),
        "--class",
        CLASS,
        "--prometheus-data",
    ]);
    let begun = Instant::now();
    let outcome = run(command.arg(blocks).arg("--").arg("--data-dir").arg(data), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
}

fn servers(tools: &Tools, folder: &Path, collector: &Collector, webhook: SocketAddr) -> (Server, Server, SocketAddr) {
    // As shipped, but with receivers of ours and no patience.
    let text = fs::read_to_string(workspace_root().join("dashboards/prometheus/alertmanager.yml")).unwrap();
    let text = text
        .replace("127.0.0.1:9099", &webhook.to_string())
        .replace("group_wait: 30s", "group_wait: 1s")
        .replace("group_interval: 5m", "group_interval: 2s");
    fs::write(folder.join("alertmanager.yml"), text).unwrap();
    let storage = folder.join("alertmanager");
    let alertmanager = Server::start(
        tools.path("prometheus-alertmanager"),
        &[
            format!("--config.file={}", folder.join("alertmanager.yml").display()),
            format!("--storage.path={}", storage.display()),
            "--cluster.listen-address=".to_owned(),
        ],
    );
    hasty(&folder.join("rules"));
    let sensor_http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = fs::read_to_string(workspace_root().join("dashboards/prometheus/prometheus.yml")).unwrap();
    let text = text
        .replace("interval: 15s", "interval: 2s")
        .replace("127.0.0.1:9093", &alertmanager.address.to_string())
        .replace("127.0.0.1:7461", &collector.http.to_string())
        .replace("127.0.0.1:7462", &sensor_http.to_string());
    fs::write(folder.join("prometheus.yml"), text).unwrap();
    let prometheus = Server::start(
        tools.path("prometheus"),
        &[
            format!("--config.file={}", folder.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", folder.join("prometheus").display()),
            "--storage.tsdb.retention.time=1y".to_owned(),
        ],
    );
    (alertmanager, prometheus, sensor_http)
}

/// Each expression of each panel, variable, annotation and rule, with what an analyst would have chosen.
fn every_expression(prometheus: &Server) {
    let (_, rules) = rules();
    let recorded = rules.iter().filter(|(name, _)| name.contains(':')).cloned();
    let of_dashboards = dashboards().iter().flat_map(expressions).collect::<Vec<_>>();
    let (mut empty, mut wrong) = (Vec::new(), Vec::new());
    for (place, expression) in recorded.chain(of_dashboards) {
        // What there is of one class need not be of the other: exposure and clocks are of live sensors only.
        let found = [("import", "udp", "1434"), ("real", "udp", "53")].iter().any(|(class, protocol, port)| {
            let chosen = [
                ("$class", *class),
                ("$protocol", *protocol),
                ("$port", *port),
                ("$sensor", ".*"),
                ("$group", ".*"),
                ("$position", ".*"),
                ("$label", "group"),
                ("$region", ".*"),
                ("$window", "1h"),
            ];
            let filled = chosen.iter().fold(expression.clone(), |text, (name, value)| text.replace(name, value));
            assert!(!filled.contains('$'), "{place}: {filled}");
            let values = prometheus.query(&filled).unwrap_or_else(|error| {
                wrong.push(format!("{place}: {filled}: {error}"));
                Vec::new()
            });
            values.iter().all(|value| !value.is_infinite()) && values.iter().any(|value| value.is_finite())
        });
        if !found && !EMPTY.iter().any(|(part, _)| expression.contains(part)) {
            empty.push(format!("{place}: {expression}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(empty.is_empty(), "no answer: {}", empty.join("\n"));
}
