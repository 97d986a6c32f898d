//! Telling the service manager how we are: the `NOTIFY_SOCKET` protocol of `sd_notify(3)`, one datagram a message.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The way to the service manager, if one listens.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    socket: Option<OsString>,
}

impl Notifier {
    /// From `NOTIFY_SOCKET`; without it every message goes nowhere.
    #[must_use]
    pub fn from_environment() -> Notifier {
        Notifier { socket: std::env::var_os("NOTIFY_SOCKET") }
    }

    /// To this socket: a path, or `@` and a name in the abstract name space.
    #[must_use]
    pub fn to(socket: impl Into<OsString>) -> Notifier {
        Notifier { socket: Some(socket.into()) }
    }

    /// Start-up is finished: what the service promises now holds.
    ///
    /// # Errors
    /// If a manager listens but cannot be told.
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1")
    }

    /// Stopping has begun.
    ///
    /// # Errors
    /// If a manager listens but cannot be told.
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1")
    }

    /// All is well; [`crate::watchdog`] says when that may be said.
    pub(crate) fn alive(&self) -> io::Result<()> {
        // A manager that reads nothing must not hold up the thread that serves everybody.
        self.send_on(&UnixDatagram::unbound().and_then(nonblocking)?, "WATCHDOG=1")
    }

    fn send(&self, message: &str) -> io::Result<()> {
        self.send_on(&UnixDatagram::unbound()?, message)
    }

    fn send_on(&self, ours: &UnixDatagram, message: &str) -> io::Result<()> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        let address = match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(socket)?,
        };
        ours.send_to_addr(message.as_bytes(), &address).map(|_| ())
    }
}

fn nonblocking(socket: UnixDatagram) -> io::Result<UnixDatagram> {
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn messages_reach_a_path_and_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        Notifier::to(&path).ready().unwrap();
        assert_eq!(received(&manager), "READY=1");

        let name = format!("martlet-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::to(format!("@{name}"));
        notifier.stopping().unwrap();
        assert_eq!(received(&manager), "STOPPING=1");
    }

    #[test]
    fn without_a_manager_nothing_fails_and_with_a_dead_one_it_shows() {
        Notifier::default().ready().unwrap();
        assert!(Notifier::to("/nonexistent/socket").ready().is_err());
    }
}
