//! The real programs: built once, run with a time limit.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A program that takes longer hangs: importing the largest shared capture takes a debug build a minute, and more on a busy machine.
pub const TIME_LIMIT: Duration = Duration::from_secs(400);

/// The workspace's root directory.
#[must_use]
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The path of one of our programs, built with the profile and into the target directory of the running test.
///
/// Tests are a package of their own, so Cargo sets no `CARGO_BIN_EXE_*` for them. Programs that are built already
/// can be given in a directory, by the variable `MARTLET_PROGRAMS`; `scripts/test.sh` gives those of `cargo test`.
///
/// # Panics
/// If it cannot be built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static BUILT: Mutex<Vec<(String, PathBuf)>> = Mutex::new(Vec::new());
    if let Some(directory) = std::env::var_os("MARTLET_PROGRAMS") {
        return Path::new(&directory).join(name);
    }
    // One build at a time; a test that failed while it held the lock has left nothing half done.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, path)) = built.iter().find(|(known, _)| known == name) {
        return path.clone();
    }
    let path = build(name);
    built.push((name.to_owned(), path.clone()));
    path
}

fn build(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // <target>[/<triple>]/<profile>/deps/<test>: Cargo marks a target directory that it makes with the first of these files,
    // and one that was there with the second.
    let is_target =
        |directory: &&Path| ["CACHEDIR.TAG", ".rustc_info.json"].iter().any(|name| directory.join(name).exists());
    let target = test.ancestors().find(is_target);
    let target = target.unwrap_or_else(|| panic!("{} is in no target directory", test.display()));
    let profile = test.parent().and_then(Path::parent).and_then(Path::file_name).unwrap();
    let profile = if profile == "debug" { OsString::from("dev") } else { profile.to_owned() };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(workspace_root())
        .args(["build", "--quiet", "--message-format", "json-render-diagnostics", "--package", name, "--bin", name])
        .arg("--profile")
        .arg(profile)
        .arg("--target-dir")
        .arg(target)
        .output()
        .unwrap();
    assert!(output.status.success(), "{name} cannot be built:\n{}", String::from_utf8_lossy(&output.stderr));
    let artifacts = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let executable = artifacts.filter_map(Result::ok).filter_map(|a| Some(a["executable"].as_str()?.to_owned())).last();
    executable.unwrap_or_else(|| panic!("Cargo does not say where {name} is")).into()
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Outcome {
    /// Standard output as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Standard output as text.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

/// Runs a program to its end, with `input` on its standard input.
///
/// # Panics
/// If it does not end within [`TIME_LIMIT`].
#[must_use]
pub fn run(command: &mut Command, input: &[u8]) -> Outcome {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // All three pipes at once, or a program that fills one while we serve another would stand still for ever.
        let stdout = scope.spawn(|| read_all(stdout));
        let stderr = scope.spawn(|| read_all(stderr));
        // A program that does not read its input to the end has its reasons.
        scope.spawn(move || stdin.take().map(|mut stdin| stdin.write_all(input)));
        let status = wait(&mut child);
        let stderr = String::from_utf8_lossy(&stderr.join().unwrap()).into_owned();
        Outcome { code: status.code(), stdout: stdout.join().unwrap(), stderr }
    })
}

/// Waits for a program's end.
///
/// # Panics
/// If it does not end within [`TIME_LIMIT`]; it is killed then.
pub fn wait(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > TIME_LIMIT {
            child.kill().unwrap();
            panic!("a program did not end within {TIME_LIMIT:?}");
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn read_all(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).unwrap();
    }
    bytes
}
