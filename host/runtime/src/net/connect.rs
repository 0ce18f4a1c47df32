//! TCP connections to allowed addresses.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long to wait for an attempt before the next one starts in parallel (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the address that answers first. Pass only addresses that the gate has allowed. A new
/// attempt starts when one fails, or when none has answered for [`STAGGER`]; running attempts
/// continue, so an address that drops packets delays the connection only by that time.
pub(crate) async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut untried_addresses = interleave_families(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "there is no address");
    loop {
        attempts.extend(untried_addresses.next().map(TcpStream::connect));
        if attempts.is_empty() {
            return Err(last_error);
        }
        let is_last = untried_addresses.len() == 0;
        let stagger = async {
            if is_last { std::future::pending().await } else { tokio::time::sleep(STAGGER).await }
        };
        tokio::select! {
            biased;
            Some(connected) = attempts.next() => match connected {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last_error = error,
            },
            () = stagger => {}
        }
    }
}

/// The addresses in the order in which they are tried: in the order of the resolver, but with
/// alternating families, so that a family without connectivity delays the other by only one attempt
/// (RFC 8305, section 4).
fn interleave_families(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv6() == first_is_ipv6);
    let mut interleaved = Vec::with_capacity(addresses.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        match (first.next(), second.next()) {
            (None, None) => return interleaved,
            (one, other) => interleaved.extend(one.into_iter().chain(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketType};
    use std::net::TcpListener;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate_and_each_keeps_its_order() {
        for (resolved, expected) in [
            (
                vec!["[::1]:1", "[::1]:2", "1.1.1.1:3", "1.1.1.1:4"],
                vec!["[::1]:1", "1.1.1.1:3", "[::1]:2", "1.1.1.1:4"],
            ),
            (vec!["1.1.1.1:1", "[::1]:2", "[::1]:3"], vec!["1.1.1.1:1", "[::1]:2", "[::1]:3"]),
            (vec!["1.1.1.1:1", "1.1.1.1:2"], vec!["1.1.1.1:1", "1.1.1.1:2"]),
            (vec![], vec![]),
        ] {
            assert_eq!(interleave_families(&addresses(&resolved)), addresses(&expected));
        }
    }

    /// An address that never answers: a listener whose queue is full, so that the kernel drops
    /// packets.
    struct BlackHole {
        address: SocketAddr,
        _listener: TcpListener,
        _queued_connections: Vec<std::net::TcpStream>,
    }

    fn black_hole() -> BlackHole {
        let listener = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &addresses(&["127.0.0.1:0"])[0]).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let listener = TcpListener::from(listener);
        let address = listener.local_addr().unwrap();
        let mut queued_connections = Vec::new();
        // The queue holds one or two connections, whatever length was requested.
        while let Ok(stream) =
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300))
        {
            queued_connections.push(stream);
            assert!(queued_connections.len() < 100, "the queue never fills");
        }
        BlackHole { address, _listener: listener, _queued_connections: queued_connections }
    }

    /// The test waits for a shorter time than these attempts would take one after the other.
    #[tokio::test]
    async fn addresses_that_answer_nobody_do_not_hold_up_the_one_that_does() {
        let black_holes: Vec<_> = (0..8).map(|_| black_hole()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut addresses: Vec<_> =
            black_holes.iter().map(|black_hole| black_hole.address).collect();
        addresses.push(listener.local_addr().unwrap());
        let connected = tokio::time::timeout(Duration::from_secs(30), connect(&addresses))
            .await
            .expect("in time")
            .unwrap();
        assert_eq!(connected.peer_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_refusing_address_is_skipped_at_once_and_the_last_error_is_returned() {
        let closed_address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = connect(&[closed_address, listener.local_addr().unwrap()]).await.unwrap();
        assert_eq!(connected.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert_eq!(
            connect(&[closed_address, closed_address]).await.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        assert_eq!(connect(&[]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
