//! A page as PDF, by whatever on the machine can print one.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Programs that are looked for, in this order: three names of one browser, and a renderer for print.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const WEASYPRINT: &str = "weasyprint";
/// How long a program may take: a browser needs a few seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked after.
const LOOK: Duration = Duration::from_millis(50);
/// How long its last words are waited for once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Most of what it says that is read, in bytes.
const MOST_SAID: u64 = 64 << 10;

/// Why there is no PDF.
#[derive(Debug, thiserror::Error)]
pub enum PdfError {
    /// None of the programs is in `PATH`.
    #[error(
        "no program to print a PDF: install chromium or weasyprint, configure a command with {{html}} and {{pdf}} in it, or take the HTML"
    )]
    NoRenderer,
    /// A configured command that does not say where the page is, or where the PDF goes.
    #[error("the command for PDFs has no argument with {{html}}, or none with {{pdf}}: {0:?}")]
    Command(Vec<String>),
    /// The page's path is not one.
    #[error("{path}: {error}")]
    Page {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong.
        error: std::io::Error,
    },
    /// It cannot be started.
    #[error("{program}: {error}")]
    Start {
        /// Its name.
        program: String,
        /// What is wrong.
        error: std::io::Error,
    },
    /// It was started, and there is no PDF.
    #[error("{program} wrote no PDF ({status}): {message}")]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it said.
        message: String,
    },
    /// It was stopped, since nobody waits for it any more, or it took too long.
    #[error("{program} was stopped before it had written a PDF{}", if *.is_late { ": it took more than two minutes" } else { "" })]
    Stopped {
        /// Its name.
        program: String,
        /// Whether it took too long.
        is_late: bool,
    },
}

/// Whether a command says where the page is, and where the PDF goes.
///
/// # Errors
/// If it does not.
pub fn check_command(command: &[String]) -> Result<(), PdfError> {
    configured(command, Path::new(""), Path::new("")).map(drop)
}

/// Whether a page could be printed on this machine: by `command`, if it is one, or by a program that is installed.
///
/// # Errors
/// Why not.
pub fn check(command: Option<&[String]>) -> Result<(), PdfError> {
    match command {
        Some(command) => {
            let (program, _) = configured(command, Path::new(""), Path::new(""))?;
            let is_there = if Path::new(&program).components().count() > 1 {
                Path::new(&program).is_file()
            } else {
                find(&program.to_string_lossy()).is_some()
            };
            let error = || io::Error::from(io::ErrorKind::NotFound);
            let missing = || PdfError::Start { program: program.to_string_lossy().into_owned(), error: error() };
            if is_there { Ok(()) } else { Err(missing()) }
        }
        None => installed(Path::new(""), Path::new("")).map(drop),
    }
}

/// Prints the page `html` to the file `out`, by `command`, in whose arguments `{html}` and `{pdf}` stand for them, or by a program
/// that is installed. What is there already is overwritten. The program is killed when `goes_on` is no longer so.
///
/// # Errors
/// If there is no program, or it wrote no PDF.
pub fn print(html: &Path, out: &Path, command: Option<&[String]>, goes_on: &dyn Fn() -> bool) -> Result<(), PdfError> {
    let html = html.canonicalize().map_err(|error| PdfError::Page { path: html.to_owned(), error })?;
    let out = std::path::absolute(out).map_err(|error| PdfError::Page { path: out.to_owned(), error })?;
    let (program, arguments) = match command {
        Some(command) => configured(command, &html, &out)?,
        None => installed(&html, &out)?,
    };
    // What is there from before must not be taken for what this run wrote.
    match std::fs::remove_file(&out) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(PdfError::Page { path: out, error }),
        _ => {}
    }
    let name = program.to_string_lossy().into_owned();
    let start = |error| PdfError::Start { program: name.clone(), error };
    let mut command = Command::new(&program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(start)?;
    let (say, said) = mpsc::channel();
    if let Some(stderr) = child.stderr.take() {
        // Nobody may be there any more to hear it.
        thread::spawn(move || drop(say.send(read(stderr))));
    }
    let until = Instant::now() + PATIENCE;
    let Some(status) = wait(&mut child, &|| goes_on() && Instant::now() < until).map_err(start)? else {
        return Err(PdfError::Stopped { program: name, is_late: Instant::now() >= until });
    };
    if status.success() && is_pdf(&out) {
        return Ok(());
    }
    // A program that it has left behind would keep the end of the pipe open.
    let said = said.recv_timeout(LAST_WORDS).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<_> = said.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
    let message = lines.into_iter().rev().collect::<Vec<_>>().join("; ");
    Err(PdfError::Failed { program: name, status, message })
}

/// What a program says. It is read to its end, or the program would wait.
fn read(mut stderr: impl Read) -> Vec<u8> {
    let mut said = Vec::new();
    // What cannot be read only makes a message shorter.
    let _ = stderr.by_ref().take(MOST_SAID).read_to_end(&mut said);
    let _ = io::copy(&mut stderr, &mut io::sink());
    said
}

/// How a program ended; `None` if it was killed.
fn wait(child: &mut Child, goes_on: &dyn Fn() -> bool) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if !goes_on() {
            // It may have ended by itself meanwhile.
            let _ = child.kill();
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

fn configured(command: &[String], html: &Path, out: &Path) -> Result<(OsString, Vec<OsString>), PdfError> {
    let wrong = || PdfError::Command(command.to_vec());
    let (program, arguments) = command.split_first().ok_or_else(wrong)?;
    let has = |place: &str| arguments.iter().any(|argument| argument.contains(place));
    if !has("{html}") || !has("{pdf}") {
        return Err(wrong());
    }
    let fill = |argument: &String| {
        argument.replace("{html}", &html.to_string_lossy()).replace("{pdf}", &out.to_string_lossy()).into()
    };
    Ok((program.into(), arguments.iter().map(fill).collect()))
}

fn installed(html: &Path, out: &Path) -> Result<(OsString, Vec<OsString>), PdfError> {
    if let Some(browser) = BROWSERS.into_iter().find_map(find) {
        let mut to = OsString::from("--print-to-pdf=");
        to.push(out);
        let mut arguments: Vec<OsString> =
            ["--headless", "--disable-gpu", "--disable-extensions", "--no-first-run", "--no-pdf-header-footer"]
                .map(Into::into)
                .into();
        arguments.extend([to, html.into()]);
        return Ok((browser.into(), arguments));
    }
    let weasyprint = find(WEASYPRINT).ok_or(PdfError::NoRenderer)?;
    Ok((weasyprint.into(), vec![html.into(), out.into()]))
}

/// A program in `PATH`.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(OsStr::new(&path)).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn is_pdf(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"%PDF-"))
}
