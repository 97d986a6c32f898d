//! Key, certificate and CA in the state directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

/// Whom a state directory that `enroll` makes as root belongs to, if there is such a user: the one of the systemd unit.
const USER: &str = "martlet-sensor";

/// Who owns a file: a user and a group by their numbers.
pub(super) type Owner = Option<(u32, u32)>;

/// Where the files are.
#[derive(Clone, Debug)]
pub(super) struct TlsFiles {
    state_dir: PathBuf,
    directory: PathBuf,
    /// Key and certificate.
    pub(super) identity: PathBuf,
    /// The CA certificates to trust.
    pub(super) authorities: PathBuf,
    owner: Owner,
}

impl TlsFiles {
    /// Those in a state directory; makes the directories if there are none.
    pub(super) fn prepare(state_dir: &Path) -> io::Result<TlsFiles> {
        // The sensor may be started from anywhere.
        let state_dir = &std::path::absolute(state_dir)?;
        let made = !state_dir.exists();
        make(state_dir)?;
        if made
            && nix::unistd::geteuid().is_root()
            && let Ok(Some(user)) = nix::unistd::User::from_name(USER)
        {
            chown(state_dir, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        // Who starts the sensor must be able to read and replace them: whoever has the directory.
        let metadata = fs::metadata(state_dir)?;
        let owner = nix::unistd::geteuid().is_root().then(|| (metadata.uid(), metadata.gid()));
        let directory = state_dir.join("tls");
        make(&directory)?;
        give(&directory, owner)?;
        Ok(TlsFiles {
            state_dir: state_dir.clone(),
            identity: directory.join("sensor.pem"),
            authorities: directory.join("ca.pem"),
            directory,
            owner,
        })
    }

    /// The name of the user who owns them, if this is root and that is not.
    pub(super) fn other_user(&self) -> Option<String> {
        let (uid, _) = self.owner.filter(|(uid, _)| *uid != 0)?;
        nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
    }

    /// The state directory, from the root on.
    pub(super) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Where they are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes both.
    pub(super) fn write(&self, identity: &str, authorities: &str) -> io::Result<()> {
        replace(&self.authorities, authorities, 0o600, self.owner)?;
        replace(&self.identity, identity, 0o600, self.owner)
    }
}

/// Puts a text into the place of a file, durably: after a crash it is there as it was, or as it is to be.
pub(super) fn replace(path: &Path, text: &str, mode: u32, owner: Owner) -> io::Result<()> {
    // A name alone has no directory that could be synced.
    let path = &std::path::absolute(path)?;
    let aside = aside(path);
    let _ = fs::remove_file(&aside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&aside)?;
    give(&aside, owner)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Where a file is written before it takes another's place.
pub(super) fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn make(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::DirBuilder::new().mode(0o700).create(directory)
}

fn give(path: &Path, owner: Owner) -> io::Result<()> {
    owner.map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_for_their_owner_alone_and_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("a/state");
        let files = TlsFiles::prepare(&state).unwrap();
        files.write("one", "ca").unwrap();
        fs::write(aside(&files.identity), "left by a crash").unwrap();
        TlsFiles::prepare(&state).unwrap().write("two", "ca").unwrap();
        assert_eq!(fs::read_to_string(&files.identity).unwrap(), "two");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!([&files.identity, &files.authorities].map(|path| mode(path)), [0o600, 0o600]);
        assert_eq!((mode(files.directory()), mode(&state)), (0o700, 0o700));
        assert_eq!(fs::read_dir(files.directory()).unwrap().count(), 2);
    }
}
