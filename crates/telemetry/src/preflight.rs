//! What can be looked at before a daemon is started: certificates' dates, directories, whether somebody answers.
//!
//! Whoever checks need not be who runs, nor be where it runs: what may be right for the daemon itself is a warning.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, access};

use crate::tls;

/// A certificate that ends sooner than this is told of.
const RENEW_WITHIN: Duration = Duration::from_secs(14 * 86_400);

/// Something that an operator should know before the daemon is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It may well work.
    Warning(String),
    /// It will not work.
    Error(String),
}

/// What is to be said of the dates of the certificates in a PEM file that a setting names. A file that cannot be read is not
/// looked at here: whoever loads it says so.
#[must_use]
pub fn certificate_dates(key: &str, path: &Path, now: SystemTime) -> Vec<Finding> {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let soon = i64::try_from(RENEW_WITHIN.as_secs()).unwrap_or(i64::MAX);
    let Ok(certificates) = tls::certificates(path) else { return Vec::new() };
    let mut found = Vec::new();
    for (number, certificate) in (1..).zip(&certificates) {
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { continue };
        let validity = parsed.validity();
        let what = format!("{key}: certificate {number} in {}", path.display());
        if validity.not_after.timestamp() < seconds {
            found.push(Finding::Error(format!("{what} expired on {}: renew it", validity.not_after)));
        } else if validity.not_before.timestamp() > seconds {
            let begins = validity.not_before;
            found.push(Finding::Error(format!(
                "{what} is not valid before {begins}: wait, or set this machine's clock"
            )));
        } else if validity.not_after.timestamp() < seconds.saturating_add(soon) {
            found.push(Finding::Warning(format!("{what} expires on {}: renew it", validity.not_after)));
        }
    }
    found
}

/// What is to be said of a directory that a daemon writes to; it makes it, and those above, if there is none.
#[must_use]
pub fn directory(key: &str, path: &Path) -> Option<Finding> {
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => Some(Finding::Error(format!("{key}: {} is no directory", path.display()))),
        Ok(found) => (access(path, Access::WRITE_OK | Access::EXEC_OK).is_err()).then(|| {
            let (owner, mode, us) = (found.uid(), found.mode() & 0o7777, rustix::process::geteuid().as_raw());
            let path = path.display();
            if owner == us {
                Finding::Error(format!("{key}: {path} cannot be written (mode {mode:04o}): chmod u+rwx {path}"))
            } else {
                Finding::Warning(format!(
                    "{key}: {path} belongs to user {owner} and cannot be written by user {us}, who checks: the daemon must be the former"
                ))
            }
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = path.ancestors().skip(1).find(|above| above.exists())?;
            access(above, Access::WRITE_OK).is_err().then(|| {
                Finding::Warning(format!(
                    "{key}: there is no {}, and who checks cannot make it in {}: install -d -m 700 -o USER {}",
                    path.display(),
                    above.display(),
                    path.display()
                ))
            })
        }
        Err(error) => Some(Finding::Warning(format!("{key}: {}: {error}", path.display()))),
    }
}

/// Whether somebody takes a connection at a host and port, within this time all in all.
///
/// # Errors
/// Why not, in words.
pub fn reach(host_and_port: &str, patience: Duration) -> Result<SocketAddr, String> {
    let (tell, told) = mpsc::channel();
    let target = host_and_port.to_owned();
    // Looking up a name knows no time limit; the thread is left behind.
    let trying = std::thread::Builder::new().spawn(move || drop(tell.send(connect(&target, patience))));
    trying.map_err(|error| error.to_string())?;
    told.recv_timeout(patience).unwrap_or_else(|_| Err(format!("no answer within {} s", patience.as_secs())))
}

fn connect(target: &str, patience: Duration) -> Result<SocketAddr, String> {
    let until = Instant::now() + patience;
    let addresses = target.to_socket_addrs().map_err(|error| format!("the name cannot be looked up: {error}"))?;
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, left) {
            Ok(_) => return Ok(address),
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(last)
}

/// What is to be said of an address to listen on. One that is in use is as it should be: a configuration is mostly checked beside
/// the daemon that runs.
#[must_use]
pub fn listening(key: &str, address: SocketAddr) -> Option<Finding> {
    let error = TcpListener::bind(address).err()?;
    match error.kind() {
        io::ErrorKind::AddrInUse => None,
        io::ErrorKind::AddrNotAvailable => {
            Some(Finding::Warning(format!("{key}: this machine has no address {} now", address.ip())))
        }
        _ => Some(Finding::Warning(format!("{key}: {address}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn dates_of_certificates_are_told_before_they_matter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.pem");
        let mut parameters = rcgen::CertificateParams::new(["x".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2030, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2030, 12, 31);
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(&path, parameters.self_signed(&key).unwrap().pem()).unwrap();
        // Days since 1970: 21915 is 2030-01-01.
        let on =
            |day: u64| certificate_dates("tls.key", &path, UNIX_EPOCH + Duration::from_secs((21_915 + day) * 86_400));
        assert!(matches!(&on(0)[..], []));
        let [Finding::Warning(text)] = &on(355)[..] else { panic!("{:?}", on(355)) };
        assert!(text.starts_with("tls.key: certificate 1 in ") && text.contains("2030"), "{text}");
        assert!(matches!(&on(365)[..], [Finding::Error(text)] if text.contains("expired")));
        let before = certificate_dates("k", &path, UNIX_EPOCH + Duration::from_secs(1));
        assert!(matches!(&before[..], [Finding::Error(text)] if text.contains("not valid before")));
        assert!(certificate_dates("k", Path::new("/nonexistent"), SystemTime::now()).is_empty());
    }

    #[test]
    fn directories_are_looked_at_but_not_made() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(directory("k", folder.path()), None);
        let missing = folder.path().join("a/b");
        assert_eq!(directory("k", &missing), None);
        assert!(!missing.exists() && !folder.path().join("a").exists());
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(directory("k", &file), Some(Finding::Error(_))));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
        // Nothing keeps root from writing.
        if !rustix::process::geteuid().is_root() {
            assert!(matches!(directory("k", folder.path()), Some(Finding::Error(_))));
            assert!(matches!(directory("k", &missing), Some(Finding::Warning(_))));
        }
    }

    #[test]
    fn who_listens_is_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(reach(&address.to_string(), Duration::from_secs(3)), Ok(address));
        assert_eq!(listening("k", address), None);
        let elsewhere = listening("k", "198.51.100.77:1".parse().unwrap());
        assert!(matches!(elsewhere, Some(Finding::Warning(text)) if text.contains("no address 198.51.100.77")));
        drop(listener);
        assert!(reach(&address.to_string(), Duration::from_secs(3)).unwrap_err().contains("refused"));
        assert!(reach("nonexistent.invalid:1", Duration::from_secs(10)).is_err());
        assert_eq!(listening("k", address), None);
    }
}
