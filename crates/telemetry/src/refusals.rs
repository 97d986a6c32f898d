//! Bodies for what hyper refuses by itself.
//!
//! A request that hyper cannot read (no HTTP, a head that is too large) never reaches a router: hyper answers it with a bare
//! status and closes the connection. A client that reads problem details (RFC 9457) gets some here, too.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection on which bare refusals are given a body on their way out.
#[derive(Debug)]
pub(crate) struct Explained<S> {
    stream: S,
    /// What stands in the place of a bare refusal.
    answer: Vec<u8>,
    /// How much of it has been written.
    written: usize,
}

impl<S: AsyncWrite + Unpin> Explained<S> {
    pub(crate) const fn new(stream: S) -> Explained<S> {
        Explained { stream, answer: Vec::new(), written: 0 }
    }

    fn write_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.answer.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.answer[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.written += length,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Explained<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Explained<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.write_answer(cx))?;
        let Some(answer) = explained(bytes) else {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        };
        (self.answer, self.written) = (answer, 0);
        // What cannot be written at once is written by the flush that follows.
        match self.write_answer(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A bare refusal is one piece: it has no body.
        if let [head] = parts {
            return self.poll_write(cx, head);
        }
        ready!(self.write_answer(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_answer(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_answer(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The same refusal with a body, if this is one of hyper's own: its answers to what it cannot read, which say nothing of a
/// content type. Every answer of ours does.
fn explained(bytes: &[u8]) -> Option<Vec<u8>> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    let (status, title, detail) = match status {
        b"400" => (400, "Bad Request", "this is not a request of HTTP/1.1"),
        b"414" => (414, "URI Too Long", "the request target is too long"),
        b"431" => (431, "Request Header Fields Too Large", "the head of the request is too large"),
        _ => return None,
    };
    let head = std::str::from_utf8(bytes.strip_suffix(b"\r\n\r\n")?).ok()?.to_ascii_lowercase();
    if !head.contains("\r\ncontent-length: 0") || head.contains("\r\ncontent-type:") {
        return None;
    }
    let body =
        format!("{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{status},\"detail\":\"{detail}\"}}");
    let answer = format!(
        "HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n\
         x-content-type-options: nosniff\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    Some(answer.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_refusals_are_explained() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let answer = String::from_utf8(explained(bare).unwrap()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
        for ours in [
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "a part of a body: HTTP/1.1 400",
        ] {
            assert_eq!(explained(ours.as_bytes()), None, "{ours}");
        }
    }
}
