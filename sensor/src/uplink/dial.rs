//! How an uplink reaches its collector.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Makes connections to a collector.
pub trait Dial {
    /// What comes from the collector.
    type Read: AsyncRead + Unpin;
    /// What goes to it.
    type Write: AsyncWrite + Unpin;

    /// Makes a new connection.
    ///
    /// # Errors
    /// If nobody answers.
    fn dial(&mut self) -> impl Future<Output = io::Result<(Self::Read, Self::Write)>>;
}

/// Connects over TCP. A name is looked up each time.
#[derive(Clone, Debug)]
pub struct TcpDial {
    /// Host and port.
    pub collector: String,
}

impl Dial for TcpDial {
    type Read = OwnedReadHalf;
    type Write = OwnedWriteHalf;

    async fn dial(&mut self) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
        let stream = TcpStream::connect(&self.collector).await?;
        stream.set_nodelay(true)?;
        Ok(stream.into_split())
    }
}
