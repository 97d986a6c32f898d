//! `martlet-collector status`: what a running collector says of itself, for people.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use martlet_telemetry::ask;
use rustix::fs::statvfs;
use serde_json::{Value, json};

use super::place::{print, table};
use super::{Failure, Settings};

/// How long the collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Say how the running collector and its sensors are: what it holds, whether its disk keeps up, when each sensor was heard last.
///
/// Asks the address of `http.listen`, over loopback. Exit status: 0 if the collector answers, 1 if not.
#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// Print JSON: the answers of the API, and the room on the disk.
    #[arg(long)]
    json: bool,
    /// File with a token, if http.loopback_scope lets nobody read without.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// Asks and prints.
pub(super) fn run(arguments: &StatusArguments) -> Result<(), Failure> {
    let config = arguments.settings.effective().map_err(Failure::Misconfigured)?;
    let token = arguments.token_file.as_ref().map(|path| {
        let read = std::fs::read_to_string(path);
        read.map_err(|error| Failure::failed(format!("--token-file {}: {error}", path.display())))
    });
    let token = token.transpose()?;
    let address = ask::reachable(config.http.listen);
    let get = |path: &str| -> Result<Value, Failure> {
        let token = token.as_deref().map(str::trim);
        let body = ask::get(address, path, token, PATIENCE).map_err(Failure::failed)?;
        let unread = |error| Failure::failed(format!("the answer from {address} cannot be read: {error}"));
        serde_json::from_slice(&body).map_err(unread)
    };
    let status = get("/api/v1/status")?;
    let sensors = get("/api/v1/sensors?limit=1000")?;
    let events = open_events(&get)?;
    // Of the machine on which this is asked; without the directory nobody knows.
    let disk = statvfs(&config.store.data_dir).ok().map(
        |disk| json!({ "free_bytes": disk.f_bavail * disk.f_frsize, "total_bytes": disk.f_blocks * disk.f_frsize }),
    );
    if arguments.json {
        let all = json!({ "status": status, "sensors": sensors["sensors"], "open_events": events, "disk": disk });
        let text = serde_json::to_string_pretty(&all).map_err(Failure::failed)?;
        return print(&format!("{text}\n"));
    }
    print(&described(&status, &sensors["sensors"], events, disk.as_ref()))
}

/// How many events nobody has resolved, of those that are told at once.
fn open_events(get: &impl Fn(&str) -> Result<Value, Failure>) -> Result<u64, Failure> {
    let mut open = 0;
    for state in ["detected", "acknowledged", "assessed"] {
        let answer = get(&format!("/api/v1/events?state={state}&limit=1000"))?;
        open += answer["events"].as_array().map_or(0, |events| events.len() as u64);
    }
    Ok(open)
}

fn described(status: &Value, sensors: &Value, open_events: u64, disk: Option<&Value>) -> String {
    let mut text = String::new();
    // Infallible: a String takes any text.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<9} {value}");
    };
    line(
        "collector",
        format!(
            "{}, version {}, up {}",
            word(&status["state"]),
            word(&status["version"]),
            age(&status["uptime_seconds"])
        ),
    );
    let stage = |stage: &Value| match stage["reason"].as_str() {
        Some(reason) => format!("{} ({reason}) for {}", word(&stage["state"]), age(&stage["stalled_seconds"])),
        None => word(&stage["state"]),
    };
    let journal = &status["journal"];
    let uncommitted = &journal["uncommitted_records"];
    line(
        "journal",
        format!("{}, {}, {uncommitted} records not in the store yet", stage(journal), bytes(&journal["bytes"])),
    );
    let store = &status["store"];
    line("store", format!("{}, last commit {} ago", stage(store), age(&store["last_commit_age_seconds"])));
    if !status["archive"].is_null() {
        let archive = &status["archive"];
        line("archive", format!("{}, {} files, {}", stage(archive), archive["files"], bytes(&archive["bytes"])));
    }
    if let Some(disk) = disk {
        line("disk", format!("{} free of {}", bytes(&disk["free_bytes"]), bytes(&disk["total_bytes"])));
    }
    for class in status["classes"].as_array().into_iter().flatten() {
        line(
            "class",
            format!("{}: {} packets in {} batches", word(&class["class"]), class["packets"], class["batches"]),
        );
    }
    line("events", format!("{open_events} open"));
    let rows = sensors.as_array().into_iter().flatten().map(|sensor| {
        let state = match (sensor["silent"].as_bool(), sensor["clock_wrong"].as_bool()) {
            (Some(true), _) => "silent",
            (_, Some(true)) => "clock wrong",
            _ => "reports",
        };
        let offset = sensor["clock_offset_seconds"].as_f64().map_or("-".to_owned(), |offset| format!("{offset:+.1} s"));
        [
            word(&sensor["name"]),
            word(&sensor["posture"]),
            state.to_owned(),
            age(&sensor["last_report_age_seconds"]),
            offset,
            sensor["packets"].to_string(),
            sensor["kernel_drops"].to_string(),
            sensor["lost"]["batches"].to_string(),
        ]
    });
    let head = ["SENSOR", "POSTURE", "STATE", "LAST REPORT", "CLOCK", "PACKETS", "DROPS", "LOST BATCHES"];
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        text.push_str("\nno sensor has reported yet\n");
    } else {
        text.push('\n');
        text.push_str(&table(head, rows.into_iter()));
    }
    text
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

/// A time in the two largest of its units; unknown is a dash.
fn age(seconds: &Value) -> String {
    let Some(seconds) = seconds.as_f64() else { return "-".to_owned() };
    let whole = Duration::try_from_secs_f64(seconds.max(0.0)).map_or(u64::MAX, |time| time.as_secs());
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

fn bytes(value: &Value) -> String {
    let Some(bytes) = value.as_u64() else { return "-".to_owned() };
    match bytes {
        0..0x0010_0000 => format!("{} KiB", bytes >> 10),
        0x0010_0000..0x0002_8000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_in_the_table() {
        let status = json!({
            "state": "running", "version": "1", "uptime_seconds": 3700,
            "journal": {"state": "stalled", "reason": "disk_full", "stalled_seconds": 7.0, "bytes": 2_097_152, "uncommitted_records": 3},
            "store": {"state": "running", "reason": null, "last_commit_age_seconds": 2.1},
            "archive": null, "classes": [{"class": "real", "packets": 5, "batches": 2}],
        });
        let sensors = json!([
            {"name": "one", "posture": "silent", "silent": true, "last_report_age_seconds": 90_000.0, "packets": 5,
             "kernel_drops": 1, "lost": {"batches": 0}, "clock_offset_seconds": null},
        ]);
        let text = described(&status, &sensors, 4, None);
        for part in ["running, version 1, up 1 h 1 min", "stalled (disk_full) for 7.0 s, 2 MiB, 3 records", "4 open"] {
            assert!(text.contains(part), "{part} not in\n{text}");
        }
        let row = text.lines().last().unwrap();
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            ["one", "silent", "silent", "1", "d", "1", "h", "-", "5", "1", "0"]
        );
        assert!(described(&status, &json!([]), 0, None).contains("no sensor has reported yet"));
    }
}
