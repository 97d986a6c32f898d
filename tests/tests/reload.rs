//! SIGHUP of a real sensor in its sandbox: what holds at once, and what is said to wait for a restart.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/certificates.rs"]
mod certificates;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use certificates::Authority;
use martlet_tests::daemon::{Daemon, eventually, root_with, run_ok};
use martlet_tests::program::program;

/// Whom the sensor becomes; exists on every Linux.
const USER: &str = "nobody";

/// Lets everybody into a directory, so that only the sandbox keeps the sensor out.
fn readable(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A sensor that watches the loopback interface, with its log in a file.
struct Sensor {
    daemon: Daemon,
    config: PathBuf,
    log: PathBuf,
    folder: PathBuf,
}

impl Sensor {
    fn start(folder: &Path, config: &Path, further: &str) -> Sensor {
        let (config, log, state) = (config.to_owned(), folder.join("log"), folder.join("state"));
        if !state.exists() {
            fs::create_dir(&state).unwrap();
            run_ok("chown", &[USER, state.to_str().unwrap()]);
        }
        readable(folder);
        fs::write(&config, settings(folder, "warn", "192.0.2.0/24", further)).unwrap();
        let mut command = Command::new("sh");
        let words = "exec \"$0\" run --config \"$1\" 2>\"$2\"";
        command.args(["-c", words]).arg(program("martlet-sensor")).arg(&config).arg(&log);
        let sensor = Sensor { daemon: Daemon::start(&mut command), config, log, folder: folder.to_owned() };
        // Until its signals are caught, one would end it: it makes its spool before that, and its thread after.
        eventually("the signals to be caught", || sensor.catches_hangups());
        sensor
    }

    /// By `SigCgt`, the mask of signals that are caught; SIGHUP is the first.
    fn catches_hangups(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.id())).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        mask.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & 1 == 1)
    }

    /// What it logs from here on until these words.
    fn hangup(&self, until: &str) -> String {
        let before = fs::read_to_string(&self.log).unwrap().len();
        let told = Command::new("kill").args(["-HUP", &self.daemon.id().to_string()]).status().unwrap();
        assert!(told.success());
        let said = || fs::read_to_string(&self.log).unwrap()[before..].to_owned();
        eventually(until, || said().contains(until));
        said()
    }

    /// Puts a configuration in the place of the one that is there, as editors do: by a new file of its name.
    fn replace(&self, text: &str) {
        let new = self.config.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &self.config).unwrap();
    }

    fn settings(&self, filter: &str, networks: &str, further: &str) -> String {
        settings(&self.folder, filter, networks, further)
    }
}

fn settings(folder: &Path, filter: &str, networks: &str, further: &str) -> String {
    format!(
        "[sensor]\nname = \"s\"\nposture = \"silent\"\nuser = \"{USER}\"\nstate_dir = {:?}\n[capture]\ninterfaces = [\"lo\"]\nring_mib = 1\n\
         [observe]\nnetworks = [\"{networks}\"]\n[http]\nlisten = \"\"\n[log]\nfilter = \"{filter}\"\n\
         [uplink]\ncollector = \"127.0.0.1:9\"\n{further}",
        folder.join("state")
    )
}

#[test]
fn a_hangup_changes_the_log_names_what_waits_and_a_broken_file_changes_nothing() {
    if !root_with(&["kill"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let sensor = Sensor::start(folder.path(), &folder.path().join("sensor.toml"), "");
    let read = |filter: &str, networks: &str, until: &str| {
        sensor.replace(&sensor.settings(filter, networks, ""));
        sensor.hangup(until)
    };
    assert!(!fs::read_to_string(&sensor.log).unwrap().contains(" INFO "), "only warnings were wanted");
    let said = read("info", "198.51.100.0/24", "SIGHUP: read again; 1 changed settings are in effect, 1 wait");
    for part in ["log.filter has changed, and is in effect", "observe.networks has changed, and waits for a restart"] {
        assert!(said.contains(part), "{said}");
    }
    // What waits is said again, until somebody restarts it or takes it back.
    let said = read("info", "198.51.100.0/24", "read again; 0 changed settings are in effect, 1 wait");
    assert!(said.contains("observe.networks has changed"), "{said}");

    sensor.replace("[sensor]\nnme = \"s\"\n");
    let said = sensor.hangup("did you mean");
    assert!(said.contains("the configuration cannot be used, and all stays as it is"), "{said}");
    let said = read("info", "192.0.2.0/33", "all stays as it is");
    assert!(said.contains("observe.networks: "), "{said}");
    let said = read("sensor=loud", "192.0.2.0/24", "all stays as it is");
    assert!(said.contains("sensor=loud"), "{said}");
    fs::remove_file(&sensor.config).unwrap();
    sensor.hangup("cannot read the configuration file");

    // As it was at the start, but for the filter, which shows what a sensor that stops has to say.
    read("info", "192.0.2.0/24", "read again; 0 changed settings are in effect, 0 wait");
    let log = sensor.log.clone();
    assert_eq!(sensor.daemon.stop(), Some(0));
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("SIGTERM: closing the open windows"), "{log}");
}

#[test]
fn files_of_certificates_are_read_again_where_the_sandbox_lets_them() {
    if !root_with(&["kill"]) {
        return;
    }
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (place, words) in
        [(&folder, "the files of uplink.tls were read again"), (&elsewhere, "out of the sandbox's reach")]
    {
        readable(place.path());
        let ours = Authority::new(place.path(), "ours");
        let tls = format!("[uplink.tls]\nca = {:?}\n", ours.file);
        let sensor = Sensor::start(folder.path(), &folder.path().join("sensor.toml"), &tls);
        sensor.replace(&sensor.settings("info", "192.0.2.0/24", &tls));
        let said = sensor.hangup("read again; 1 changed settings are in effect, 0 wait");
        // The one at the start was for warnings: what is read with the new filter is said.
        let said = said + &sensor.hangup("read again; 0 changed");
        assert!(said.contains(words), "{words}: {said}");
        if place.path() == folder.path() {
            fs::write(&ours.file, "nothing").unwrap();
            let said = sensor.hangup("read again; 0 changed");
            assert!(said.contains("cannot be used, and what was read before goes on"), "{said}");
        }
        assert_eq!(sensor.daemon.stop(), Some(0));
    }
}

#[test]
fn a_configuration_among_the_files_of_others_can_be_changed_but_not_replaced() {
    if !root_with(&["kill"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = tempfile::Builder::new().prefix("martlet-").suffix(".toml").tempfile_in("/tmp").unwrap();
    fs::set_permissions(config.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let sensor = Sensor::start(folder.path(), config.path(), "");
    // Into the very file.
    fs::write(config.path(), sensor.settings("info", "192.0.2.0/24", "")).unwrap();
    sensor.hangup("read again; 1 changed settings are in effect, 0 wait");
    sensor.replace(&sensor.settings("warn", "192.0.2.0/24", ""));
    fs::set_permissions(config.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let said = sensor.hangup("all stays as it is");
    assert!(said.contains("was replaced") && said.contains("restart the sensor"), "{said}");
    assert_eq!(sensor.daemon.stop(), Some(0));
}
