//! Asking a daemon of ours over HTTP, for its own command line: one request, one answer, no more than that.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use thiserror::Error;

/// Longer answers are not read to their end.
const LONGEST: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("nobody answers at {0}: {1}; does the daemon run, and with this configuration?")]
    Nobody(SocketAddr, std::io::Error),
    /// The answer broke off or is no HTTP.
    #[error("the answer from {0} cannot be read: {1}")]
    Broken(SocketAddr, String),
    /// The answer is another than 200.
    #[error("{0} answers with status {1}: {2}")]
    Status(SocketAddr, u16, String),
}

/// The address at which this machine reaches what listens on `listen`.
#[must_use]
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The body of the answer to a GET request, if its status is 200. `token` is shown to daemons that want one.
///
/// # Errors
/// If nobody answers in time, or something else.
pub fn get(address: SocketAddr, path: &str, token: Option<&str>, patience: Duration) -> Result<Vec<u8>, AskError> {
    let nobody = |error| AskError::Nobody(address, error);
    let broken = |why: String| AskError::Broken(address, why);
    let mut stream = TcpStream::connect_timeout(&address, patience).map_err(nobody)?;
    stream.set_read_timeout(Some(patience)).map_err(nobody)?;
    stream.set_write_timeout(Some(patience)).map_err(nobody)?;
    let shown = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    // Version 1.0: the answer comes in one piece and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n{shown}\r\n");
    stream.write_all(request.as_bytes()).map_err(nobody)?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).map_err(|error| broken(error.to_string()))?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| broken("no HTTP".to_owned()))?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer[end + 4..].to_vec();
    match status {
        Some(200) => Ok(body),
        Some(status) => {
            let said: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            Err(AskError::Status(address, status, said.trim().to_owned()))
        }
        None => Err(broken("no HTTP".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn a_body_is_had_and_everything_else_is_an_error_that_says_why() {
        let patience = Duration::from_secs(5);
        let ask = |answer| get(answering(answer), "/x", Some("t"), patience);
        assert_eq!(ask("HTTP/1.0 200 OK\r\nA: b\r\n\r\nbody").unwrap(), b"body");
        assert!(ask("HTTP/1.0 503 No\r\n\r\nstarting\n").unwrap_err().to_string().ends_with("status 503: starting"));
        assert!(matches!(ask("nonsense"), Err(AskError::Broken(..))));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(get(closed, "/", None, patience).unwrap_err().to_string().contains("does the daemon run"));
    }

    #[test]
    fn everywhere_is_reached_over_loopback() {
        for (listen, at) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("192.0.2.1:1", "192.0.2.1:1")] {
            assert_eq!(reachable(listen.parse().unwrap()), at.parse().unwrap());
        }
    }
}
