//! What a confined sensor may still read of its configuration, so that SIGHUP can have it read again.
//!
//! Editors and `enroll` replace a file by another of its name, and a rule of Landlock holds for the file that was there. So the
//! rule is for the directory, with all beneath it, and for the file alone where that would open what is not Martlet's.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Directories in which others keep theirs, each in one of its own: what lies directly in them is somebody's, not theirs.
const SHARED: [&str; 9] = ["dev", "home", "media", "mnt", "proc", "run", "sys", "usr", "var"];

/// What may be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readable {
    /// Directories with all beneath them, or one file.
    pub paths: Vec<PathBuf>,
    /// It is the file that was there at the start: another in its place is out of reach.
    pub only_the_file: bool,
}

impl Readable {
    /// For the configuration in a file; nothing without one.
    #[must_use]
    pub fn of(file: Option<&Path>) -> Readable {
        let Some((file, real)) = file.and_then(|file| Some((file, fs::canonicalize(file).ok()?))) else {
            return Readable::default();
        };
        // Links are followed at each opening, and either end may be replaced.
        let named = fs::canonicalize(parent(file)).unwrap_or_else(|_| parent(file).to_owned());
        let mut paths = vec![named, parent(&real).to_owned()];
        paths.dedup();
        let only_the_file = paths.iter().any(|directory| is_shared(directory));
        Readable { paths: if only_the_file { vec![real] } else { paths }, only_the_file }
    }
}

fn parent(file: &Path) -> &Path {
    file.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a directory holds what is not Martlet's: `/`, `/etc` or `/tmp`, `/home/somebody`, `/var/lib`, `/usr/local/etc`.
fn is_shared(directory: &Path) -> bool {
    let names: Vec<&str> = directory
        .components()
        .filter_map(|part| if let Component::Normal(name) = part { name.to_str() } else { None })
        .collect();
    match names.as_slice() {
        [] | [_] => true,
        [first, _] => SHARED.contains(first),
        ["usr", "local", _] | ["run", "user", _] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_others_use_are_not_opened() {
        for shared in
            ["/", "/etc", "/tmp", "/root", "/home/a", "/var/lib", "/usr/local", "/usr/local/etc", "/run/user/7"]
        {
            assert!(is_shared(Path::new(shared)), "{shared}");
        }
        for own in
            ["/etc/martlet", "/root/martlet", "/home/a/martlet", "/var/lib/martlet", "/usr/local/etc/martlet", "/tmp/x"]
        {
            assert!(!is_shared(Path::new(own)), "{own}");
        }
    }

    #[test]
    fn both_ends_of_a_link_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let (named, real) = (root.join("named"), root.join("versions/1"));
        fs::create_dir_all(&real).unwrap();
        fs::create_dir(&named).unwrap();
        fs::write(real.join("sensor.toml"), "").unwrap();
        std::os::unix::fs::symlink(real.join("sensor.toml"), named.join("sensor.toml")).unwrap();
        let readable = Readable::of(Some(&named.join("sensor.toml")));
        assert_eq!(readable, Readable { paths: vec![named, real.clone()], only_the_file: false });
        let readable = Readable::of(Some(&real.join("sensor.toml")));
        assert_eq!(readable, Readable { paths: vec![real], only_the_file: false });
        assert_eq!(Readable::of(Some(&root.join("absent"))), Readable::default());
        assert_eq!(Readable::of(None), Readable::default());
        // One end in a directory of others is enough.
        let passwd = Readable::of(Some(Path::new("/etc/passwd")));
        assert_eq!(passwd, Readable { paths: vec!["/etc/passwd".into()], only_the_file: true });
    }
}
