//! TCP connections to judged addresses.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long the newest attempt is waited for before the next one is made beside it (RFC 8305,
/// section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the address that answers first. Only addresses that the gate let through may be
/// given. A new attempt begins when one fails, and when none has answered for a moment; those that
/// run go on, so an address that drops packets delays the connection only for that time.
pub(crate) async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut left = in_turn(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "there is no address");
    loop {
        attempts.extend(left.next().map(TcpStream::connect));
        if attempts.is_empty() {
            return Err(last);
        }
        let is_last = left.len() == 0;
        let moment = async {
            if is_last { std::future::pending().await } else { tokio::time::sleep(STAGGER).await }
        };
        tokio::select! {
            biased;
            Some(connected) = attempts.next() => match connected {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            },
            () = moment => {}
        }
    }
}

/// The addresses in the order in which they are tried: as the resolver gave them, but the families
/// alternate, so that one that leads nowhere holds up the other for a single attempt (RFC 8305,
/// section 4).
fn in_turn(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv6() == first_is_ipv6);
    let mut merged = Vec::with_capacity(addresses.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        match (first.next(), second.next()) {
            (None, None) => return merged,
            (one, other) => merged.extend(one.into_iter().chain(other)),
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
        for (given, tried) in [
            (
                vec!["[::1]:1", "[::1]:2", "1.1.1.1:3", "1.1.1.1:4"],
                vec!["[::1]:1", "1.1.1.1:3", "[::1]:2", "1.1.1.1:4"],
            ),
            (vec!["1.1.1.1:1", "[::1]:2", "[::1]:3"], vec!["1.1.1.1:1", "[::1]:2", "[::1]:3"]),
            (vec!["1.1.1.1:1", "1.1.1.1:2"], vec!["1.1.1.1:1", "1.1.1.1:2"]),
            (vec![], vec![]),
        ] {
            assert_eq!(in_turn(&addresses(&given)), addresses(&tried));
        }
    }

    /// An address that answers nobody: a listener whose queue is full, so that the kernel drops
    /// what comes.
    struct BlackHole {
        address: SocketAddr,
        _listener: TcpListener,
        _queued: Vec<std::net::TcpStream>,
    }

    fn black_hole() -> BlackHole {
        let listener = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &addresses(&["127.0.0.1:0"])[0]).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let listener = TcpListener::from(listener);
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        // The queue holds one or two, whatever was asked for.
        while let Ok(stream) =
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300))
        {
            queued.push(stream);
            assert!(queued.len() < 100, "the queue never fills");
        }
        BlackHole { address, _listener: listener, _queued: queued }
    }

    /// One after the other, with any patience worth the name, these would take longer than the test
    /// waits.
    #[tokio::test]
    async fn addresses_that_answer_nobody_do_not_hold_up_the_one_that_does() {
        let holes: Vec<_> = (0..8).map(|_| black_hole()).collect();
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut all: Vec<_> = holes.iter().map(|hole| hole.address).collect();
        all.push(good.local_addr().unwrap());
        let connected = tokio::time::timeout(Duration::from_secs(30), connect(&all))
            .await
            .expect("in time")
            .unwrap();
        assert_eq!(connected.peer_addr().unwrap(), good.local_addr().unwrap());
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_left_at_once_and_the_last_reason_is_told() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = connect(&[closed, good.local_addr().unwrap()]).await.unwrap();
        assert_eq!(connected.peer_addr().unwrap(), good.local_addr().unwrap());
        assert_eq!(
            connect(&[closed, closed]).await.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        assert_eq!(connect(&[]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
