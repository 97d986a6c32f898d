//! Writing a report down: in which forms, and into which files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use martlet_report::pdf::PdfError;
use martlet_report::{Format, Report, Wording};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a report is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One page with everything in it.
    Html,
    /// Markdown, with figures in files beside it.
    Md,
    /// Tables, a file each.
    Csv,
    /// Every number.
    Json,
    /// As a printer would print the HTML.
    Pdf,
}

/// Why a report is not written down.
#[derive(Debug, Error)]
pub enum OutputError {
    /// A file cannot be written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The report cannot be rendered.
    #[error(transparent)]
    Render(#[from] martlet_report::RenderError),
    /// Its files are too large for one archive.
    #[error("the files of the report are too large for a ZIP archive")]
    Bundle(#[from] std::num::TryFromIntError),
    /// The words of a language cannot be read: a defect.
    #[error(transparent)]
    Wording(martlet_report::WordingError),
    /// It cannot be printed.
    #[error(transparent)]
    Pdf(#[from] PdfError),
}

impl Form {
    /// What does not need another program.
    pub const OF_ITS_OWN: [Form; 4] = [Form::Html, Form::Md, Form::Csv, Form::Json];

    /// The name used in parameters and settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Form::Html => "html",
            Form::Md => "md",
            Form::Csv => "csv",
            Form::Json => "json",
            Form::Pdf => "pdf",
        }
    }

    /// How the name of a file of it ends; several files are one archive.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Form::Md => "md.zip",
            Form::Csv => "csv.zip",
            _ => self.name(),
        }
    }

    /// Whether it is another in each language.
    #[must_use]
    pub const fn has_language(self) -> bool {
        !matches!(self, Form::Json)
    }

    /// Whether it is several files.
    #[must_use]
    pub const fn is_several(self) -> bool {
        matches!(self, Form::Md | Form::Csv)
    }

    /// Its files; of a PDF the page that is to be printed.
    ///
    /// # Errors
    /// If the report disagrees with itself.
    pub fn files(self, report: &Report, words: &Wording) -> Result<Vec<martlet_report::File>, OutputError> {
        let format = match self {
            Form::Html | Form::Pdf => Format::Html,
            Form::Md => Format::Markdown,
            Form::Csv => Format::Csv,
            Form::Json => Format::Json,
        };
        Ok(martlet_report::render(report, words, format)?)
    }

    /// All of it as one file; of a PDF the page that is to be printed.
    ///
    /// # Errors
    /// If the report disagrees with itself, or is too large.
    pub fn bytes(self, report: &Report, words: &Wording) -> Result<Vec<u8>, OutputError> {
        let files = self.files(report, words)?;
        if self.is_several() {
            return Ok(martlet_report::bundle(&files)?);
        }
        Ok(files.into_iter().flat_map(|file| file.bytes).collect())
    }
}

/// Writes a file as a whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    place(path, bytes, |draft| fs::rename(draft, path))
        .map_err(|error| OutputError::File { path: path.to_owned(), error })
}

/// The same, where `place` puts the draft where it belongs. A link takes nobody's place.
pub(super) fn place(path: &Path, bytes: &[u8], place: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    // A name that nobody else has: what is kept is a link to the draft.
    let draft = draft_of(path, "tmp");
    let written = File::create_new(&draft).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let placed = written.and_then(|()| place(&draft));
    // Of one that was renamed nothing is left; a draft that stays is in nobody's way.
    let _ = fs::remove_file(&draft);
    placed.and_then(|()| File::open(directory_of(path))?.sync_all())
}

/// Prints a page, as a whole or not at all.
///
/// # Errors
/// If nobody prints it, or it cannot be written.
pub(super) fn print(
    page: &[u8],
    out: &Path,
    command: Option<&[String]>,
    goes_on: &dyn Fn() -> bool,
) -> Result<(), OutputError> {
    // Beside the PDF, under names that nobody has: one in a directory that all can write to could be somebody else's.
    let (html, draft) = (draft_of(out, "html"), draft_of(out, "pdf"));
    let printed = write(&html, page).and_then(|()| {
        martlet_report::pdf::print(&html, &draft, command, goes_on)?;
        let placed = File::open(&draft).and_then(|file| file.sync_all()).and_then(|()| fs::rename(&draft, out));
        placed.map_err(|error| OutputError::File { path: out.to_owned(), error })
    });
    // What stays is in nobody's way.
    [html, draft].iter().for_each(|path| drop(fs::remove_file(path)));
    printed
}

fn draft_of(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}.{extension}", rand::random::<u64>()));
    PathBuf::from(name)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether files can be made in a directory.
///
/// # Errors
/// Why not.
pub(super) fn check_directory(directory: &Path) -> Result<(), OutputError> {
    let failed = |error| OutputError::File { path: directory.to_owned(), error };
    if !fs::metadata(directory).map_err(failed)?.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    let draft = draft_of(&directory.join("check"), "tmp");
    File::create_new(&draft).map_err(failed)?;
    fs::remove_file(&draft).map_err(failed)
}
