//! What packages ship says what the programs take.

use std::collections::BTreeSet;
use std::fs;

use clap::Command;

/// Names of a program and all its subcommands, as their pages are called.
fn names(command: &Command, prefix: &str, into: &mut BTreeSet<String>) {
    let name =
        if prefix.is_empty() { command.get_name().to_owned() } else { format!("{prefix}-{}", command.get_name()) };
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).for_each(|sub| names(sub, &name, into));
    into.insert(name);
}

#[test]
fn each_command_has_a_page_with_its_flags_and_each_shell_its_completions() {
    let directory = tempfile::tempdir().unwrap();
    let written = martlet_packaging::write(directory.path()).unwrap();
    let mut expected = BTreeSet::new();
    for program in martlet_packaging::programs() {
        let mut pages = BTreeSet::new();
        names(&program, "", &mut pages);
        expected.extend(pages.iter().map(|page| format!("man/{page}.1")));
        let name = program.get_name();
        expected.extend(
            [name.to_owned(), format!("_{name}"), format!("{name}.fish")].map(|file| format!("completions/{file}")),
        );
    }
    let files = written.iter().map(|path| path.strip_prefix(directory.path()).unwrap().to_str().unwrap().to_owned());
    assert_eq!(files.collect::<BTreeSet<_>>(), expected);

    let read = |file: &str| fs::read_to_string(directory.path().join(file)).unwrap();
    for (page, says) in [
        ("man/martlet-sensor-replay.1", "server\\-name"),
        ("man/martlet-collector-serve.1", "\\-\\-data\\-dir"),
        ("man/martlet-collector-token-create.1", "martlet\\-collector token create"),
        ("man/martlet-drill.1", "outbreak\\-start"),
        ("completions/martlet-sensor", "--dry-run"),
        ("completions/_martlet-collector", "rebuild"),
        ("completions/martlet-drill.fish", "exercise"),
    ] {
        assert!(read(page).contains(says), "{page} does not say {says}");
    }
    for page in expected.iter().filter(|file| file.starts_with("man/")) {
        assert!(read(page).contains(".TH "), "{page} is no manual page");
    }
}

#[test]
fn the_same_source_gives_the_same_files() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = martlet_packaging::write(one.path()).unwrap();
    martlet_packaging::write(other.path()).unwrap();
    for file in files {
        let twin = other.path().join(file.strip_prefix(one.path()).unwrap());
        assert_eq!(fs::read(&file).unwrap(), fs::read(twin).unwrap(), "{}", file.display());
    }
}
