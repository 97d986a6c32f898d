//! Manual pages and shell completions of the programs, from the command lines that they themselves read.
//!
//! ```text
//! cli::command() of each program -> man/PROGRAM[-SUBCOMMAND].1
//!                                -> completions/{PROGRAM (bash), _PROGRAM (zsh), PROGRAM.fish}
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

/// What a page says where it is from.
const MANUAL: &str = "Martlet";
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// The command lines of all programs that packages hold.
#[must_use]
pub fn programs() -> [Command; 3] {
    [martlet_sensor::cli::command(), martlet_collector::cli::command(), martlet_drill::cli::command()]
}

/// Writes the pages and completions of all programs below `directory`, and says which files they are.
///
/// # Errors
/// If a file or directory cannot be written.
pub fn write(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    let mut written = Vec::new();
    for mut program in programs() {
        for shell in SHELLS {
            let name = program.get_name().to_owned();
            let file = generate_to(shell, &mut program, name, &completions)?;
            written.push(named_for_its_shell(file)?);
        }
        // `build` gives subcommands their full names, and the flags that all of them have.
        program.build();
        let source = format!("{MANUAL} {}", program.get_version().unwrap_or_default());
        pages(&program, &source, &man, &mut written)?;
    }
    Ok(written)
}

/// Shells look for completions by these names; the generator ends Bash's in `.bash`, which Debian's do not.
fn named_for_its_shell(file: PathBuf) -> io::Result<PathBuf> {
    if file.extension().is_some_and(|extension| extension == "bash") {
        let name = file.with_extension("");
        fs::rename(&file, &name)?;
        return Ok(name);
    }
    Ok(file)
}

fn pages(command: &Command, source: &str, directory: &Path, written: &mut Vec<PathBuf>) -> io::Result<()> {
    // Without a date: the same source gives the same pages.
    let man = Man::new(command.clone()).source(source).manual(MANUAL);
    written.push(man.generate_to(directory)?);
    let told = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    command.get_subcommands().filter(told).try_for_each(|subcommand| pages(subcommand, source, directory, written))
}
