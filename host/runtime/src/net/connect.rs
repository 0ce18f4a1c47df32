//! TCP connections to judged addresses.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// For one of several addresses: the next one may work.
const ONE_OF_SEVERAL: Duration = Duration::from_secs(5);

/// Connects to the first address that answers. Only addresses that the gate let through may be given.
pub(crate) async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "there is no address");
    for (index, address) in addresses.iter().enumerate() {
        let attempt = TcpStream::connect(address);
        let connected = if index + 1 == addresses.len() {
            attempt.await
        } else {
            tokio::time::timeout(ONE_OF_SEVERAL, attempt).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        };
        match connected {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
