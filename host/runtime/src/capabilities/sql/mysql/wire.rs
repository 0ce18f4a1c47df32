//! The connection to a MySQL or MariaDB server, between the driver and the network.
//!
//! The driver takes a row of any size into memory. So, as with PostgreSQL, it speaks to a socket of
//! our own, in a directory that nobody else may enter. TLS is ours, which the driver does not know:
//! what the two do differently while they log in is changed on the way. Rows that are larger than
//! the target allows are dropped before anybody has them in memory.

mod login;

use super::super::Access;
use super::super::stream::{LEAST_ROW, Seen, Stream, no_socket, over_a_socket, over_tcp, skip};
use crate::fault::Fault;
use runbook_authority::targets::{SqlAddress, TlsMode};
use runbook_secrets::Secret;
use rustls::ClientConfig;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};

/// Flags of what both sides can do.
const COMPRESS: u32 = 1 << 5;
const LOCAL_FILES: u32 = 1 << 7;
const SSL: u32 = 1 << 11;
const DEPRECATE_EOF: u32 = 1 << 24;

/// A packet of this size goes on in the next one.
const GOES_ON: usize = 0xff_ff_ff;

/// The largest packet during the login, in bytes.
const MOST_OF_A_LOGIN: usize = 64 << 10;

/// What becomes of a result in which a row was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterCut {
    /// For the driver it ends there, so that it does not wait for rows that it would not read.
    Ends,
    /// It ends when the server has ended it, because what else the statement does counts.
    GoesOn,
}

/// The way to one server, for one connection of the driver.
pub(super) struct Wire {
    folder: TempDir,
    seen: Arc<Seen>,
    relay: tokio::task::JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

impl Wire {
    /// Connects to the server of a target, and waits for the driver at [`socket`](Self::socket).
    pub(super) async fn open(access: &Access, after_cut: AfterCut) -> Result<Self, Fault> {
        let SqlAddress::Server { host, tls, .. } = &access.sql().address else {
            unreachable!("only MySQL targets come here");
        };
        let folder =
            tempfile::Builder::new().prefix("runbook-sql-").tempdir().map_err(no_socket)?;
        let listener = UnixListener::bind(folder.path().join("sock")).map_err(no_socket)?;
        let server = if host.starts_with('/') {
            Server::Socket(over_a_socket(&Path::new(host).join("mysqld.sock")).await?)
        } else {
            let (host, config) = (host.clone(), access.tls.clone());
            Server::Tcp { stream: over_tcp(access).await?, host, mode: *tls, config }
        };
        let seen = Arc::new(Seen::default());
        let relay = Relay {
            seen: Arc::clone(&seen),
            most: usize::try_from(access.sql().max_bytes.0).unwrap_or(usize::MAX).max(LEAST_ROW),
            password: access.password.clone(),
            after_cut,
        };
        let relay = tokio::spawn(async move {
            // Whatever ends it, both sides see the end of their stream.
            let Ok((driver, _)) = listener.accept().await else { return };
            let _ = relay.run(driver, server).await;
        });
        Ok(Self { folder, seen, relay })
    }

    /// Where the driver finds the server.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// Whether a row was dropped because it is larger than the target allows.
    pub(super) fn is_cut(&self) -> bool {
        self.seen.is_cut()
    }

    /// Why the connection was ended from this side; `otherwise` if it was not.
    pub(super) fn reason(&self, otherwise: Fault) -> Fault {
        self.seen.reason(otherwise)
    }
}

/// A server that has not said anything yet.
enum Server {
    Socket(UnixStream),
    Tcp { stream: TcpStream, host: String, mode: TlsMode, config: Option<Arc<ClientConfig>> },
}

/// A packet as it goes over the wire.
struct Packet {
    number: u8,
    body: Vec<u8>,
}

impl Packet {
    /// Reads one packet of a login, which is short.
    async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let (length, number) = header(from).await?;
        if length > MOST_OF_A_LOGIN {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).await?;
        Ok(Self { number, body })
    }

    async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        to.write_all(&[&head(self.body.len(), self.number), self.body.as_slice()].concat()).await?;
        to.flush().await
    }
}

async fn header(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(usize, u8)> {
    let mut head = [0; 4];
    from.read_exact(&mut head).await?;
    Ok((usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16, head[3]))
}

fn head(length: usize, number: u8) -> [u8; 4] {
    let [low, middle, high, ..] = length.to_le_bytes();
    [low, middle, high, number]
}

/// Carries packets to and fro.
struct Relay {
    seen: Arc<Seen>,
    /// The largest row that is let through, in bytes.
    most: usize,
    password: Option<Secret>,
    after_cut: AfterCut,
}

/// A session that has logged in.
struct Session {
    server: Box<dyn Stream>,
    flags: u32,
}

impl Relay {
    async fn run(&self, mut driver: UnixStream, server: Server) -> io::Result<()> {
        let done = self.carry(&mut driver, server).await;
        // The driver sees the end only after this.
        done.inspect_err(|error| self.seen.explain(error))
    }

    async fn carry(&self, driver: &mut UnixStream, server: Server) -> io::Result<()> {
        let Session { server, flags } = self.log_in(driver, server).await?;
        let (mut from_driver, mut to_driver) = driver.split();
        let (mut from_server, mut to_server) = tokio::io::split(server);
        let up = async {
            let mut chunk = vec![0; 16 << 10];
            loop {
                let length = from_driver.read(&mut chunk).await?;
                if length == 0 {
                    return to_server.shutdown().await;
                }
                to_server.write_all(&chunk[..length]).await?;
                to_server.flush().await?;
            }
        };
        let down = self.down(&mut from_server, &mut to_driver, flags);
        // When either side is gone, so is the other: a server learns at once that nobody waits for
        // it any more.
        tokio::select! {
            done = up => done,
            done = down => done,
        }
    }

    /// Carries what the server says, but for rows that are too large, and for what follows them in
    /// the same result.
    async fn down(
        &self,
        server: &mut (impl AsyncRead + Unpin),
        driver: &mut (impl AsyncWrite + Unpin),
        flags: u32,
    ) -> io::Result<()> {
        let mut server = tokio::io::BufReader::with_capacity(64 << 10, server);
        let mut drops = false;
        loop {
            let (length, number) = header(&mut server).await?;
            if length < GOES_ON && length <= self.most {
                let first = if length > 0 { Some(server.read_u8().await?) } else { None };
                let ends = matches!((first, length), (Some(0xff), _) | (Some(0xfe), ..9));
                let rest = length - usize::from(first.is_some());
                if drops && !(ends && self.after_cut == AfterCut::GoesOn) {
                    drops = !ends;
                    skip(&mut server, rest).await?;
                    continue;
                }
                drops = false;
                driver.write_all(&head(length, number)).await?;
                driver.write_all(first.as_slice()).await?;
                tokio::io::copy(&mut (&mut server).take(rest as u64), driver).await?;
                continue;
            }
            let whole = self.large(&mut server, length).await?;
            match whole {
                Some(body) if !drops => {
                    for (part, chunk) in (0_u8..).zip(parts(&body)) {
                        driver.write_all(&head(chunk.len(), number.wrapping_add(part))).await?;
                        driver.write_all(chunk).await?;
                    }
                }
                Some(_) | None => {
                    if !drops {
                        self.seen.cut();
                        if self.after_cut == AfterCut::Ends {
                            driver.write_all(&end_of_a_result(number, flags)).await?;
                        }
                    }
                    drops = true;
                }
            }
        }
    }

    /// The rest of a packet that goes on in others, or is large by itself; nothing if it is larger
    /// than a row may be.
    async fn large(
        &self,
        server: &mut (impl AsyncRead + Unpin),
        first: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        let mut body = Some(Vec::new());
        let mut length = first;
        loop {
            match &mut body {
                Some(held) if held.len() + length <= self.most => {
                    (&mut *server).take(length as u64).read_to_end(held).await?;
                }
                Some(_) | None => {
                    body = None;
                    skip(server, length).await?;
                }
            }
            if length < GOES_ON {
                return Ok(body);
            }
            (length, _) = header(server).await?;
        }
    }
}

/// A body in as many packets as it takes: one that is full is followed by another, if only by an
/// empty one.
fn parts(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let full = body.len() / GOES_ON;
    (0..=full).map(move |part| &body[part * GOES_ON..body.len().min((part + 1) * GOES_ON)])
}

/// What a server says after the last row.
fn end_of_a_result(number: u8, flags: u32) -> Vec<u8> {
    // No warnings; the state is that nothing special is.
    let body: &[u8] =
        if flags & DEPRECATE_EOF == 0 { &[0xfe, 0, 0, 2, 0] } else { &[0xfe, 0, 0, 2, 0, 0, 0] };
    [&head(body.len(), number), body].concat()
}

/// Where the flags of a greeting are: two bytes after the first part of the nonce, and two more a
/// little behind.
fn places(greeting: &[u8]) -> Option<[usize; 4]> {
    let name = greeting.get(1..)?.iter().position(|byte| *byte == 0)?;
    let at = 1 + name + 1 + 4 + 8 + 1;
    Some([at, at + 1, at + 5, at + 6]).filter(|places| places[3] < greeting.len())
}

fn can(greeting: &[u8], flag: u32) -> bool {
    places(greeting)
        .is_some_and(|places| u32::from_le_bytes(places.map(|place| greeting[place])) & flag != 0)
}

fn cannot(greeting: &mut [u8], flags: u32) {
    for (place, mask) in places(greeting).into_iter().flatten().zip(flags.to_le_bytes()) {
        greeting[place] &= !mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body in as many packets as it takes.
    fn packets(number: u8, body: &[u8]) -> Vec<u8> {
        let mut packets = Vec::new();
        for (number, part) in (number..).zip(parts(body)) {
            packets.extend_from_slice(&head(part.len(), number));
            packets.extend_from_slice(part);
        }
        packets
    }

    /// The bodies that a driver reads.
    async fn bodies(mut from: &[u8]) -> Vec<Vec<u8>> {
        let mut bodies = vec![Vec::new()];
        while let Ok((length, _)) = header(&mut from).await {
            let (body, rest) = from.split_at(length);
            bodies.last_mut().unwrap().extend_from_slice(body);
            from = rest;
            if length < GOES_ON {
                bodies.push(Vec::new());
            }
        }
        bodies.pop();
        bodies
    }

    /// What a driver is told if a server says this.
    async fn told(most: usize, after_cut: AfterCut, said: &[Vec<u8>]) -> (Vec<Vec<u8>>, bool) {
        let relay = Relay { seen: Arc::new(Seen::default()), most, password: None, after_cut };
        let said = said.iter().map(|body| packets(3, body)).collect::<Vec<_>>().concat();
        let mut driver = Vec::new();
        let ended = relay.down(&mut said.as_slice(), &mut driver, DEPRECATE_EOF).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        (bodies(&driver).await, relay.seen.is_cut())
    }

    const END: &[u8] = &[0xfe, 0, 0, 2, 0, 0, 0];

    fn row(length: usize) -> Vec<u8> {
        let mut body = vec![b'x'; length];
        body[0] = 0;
        body
    }

    #[tokio::test]
    async fn rows_of_every_size_around_that_of_a_packet_arrive_whole() {
        for length in
            [1, 2, GOES_ON - 1, GOES_ON, GOES_ON + 1, 2 * GOES_ON - 1, 2 * GOES_ON, 2 * GOES_ON + 1]
        {
            let said = [row(8), row(length), row(9), END.to_vec()];
            for after_cut in [AfterCut::Ends, AfterCut::GoesOn] {
                assert!(
                    told(length.max(9), after_cut, &said).await == (said.to_vec(), false),
                    "{length}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_row_that_is_too_large_ends_its_result_and_no_other() {
        for length in [101, GOES_ON - 1, GOES_ON, GOES_ON + 1, 2 * GOES_ON] {
            let most = length - 1;
            let next = [vec![0, 7], row(9), END.to_vec()];
            let said =
                [&[row(8), row(length), row(9), row(length), END.to_vec()][..], &next].concat();
            let expected = [&[row(8), END.to_vec()][..], &next].concat();
            for after_cut in [AfterCut::Ends, AfterCut::GoesOn] {
                assert!(
                    told(most, after_cut, &said).await == (expected.clone(), true),
                    "{length}, {after_cut:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn what_goes_wrong_after_a_row_that_was_dropped_is_told_where_it_counts() {
        let wrong = vec![0xff, 1, 2];
        let said = [row(8), row(200), wrong.clone()];
        assert_eq!(told(100, AfterCut::GoesOn, &said).await, (vec![row(8), wrong], true));
        assert_eq!(told(100, AfterCut::Ends, &said).await, (vec![row(8), END.to_vec()], true));
    }

    #[test]
    fn what_a_server_can_do_is_told_without_what_the_relay_does_for_it() {
        let mut greeting = [
            &[10][..],
            b"5.5.5-10.11\0",
            &[1, 0, 0, 0],
            b"12345678",
            &[0],
            &[0xff, 0xff, 45, 2, 0, 0xff, 0xff],
        ]
        .concat();
        greeting.extend_from_slice(&[21; 24]);
        assert!(can(&greeting, SSL) && can(&greeting, DEPRECATE_EOF));
        cannot(&mut greeting, SSL | COMPRESS | LOCAL_FILES);
        assert!(
            !can(&greeting, SSL)
                && !can(&greeting, COMPRESS)
                && !can(&greeting, LOCAL_FILES)
                && can(&greeting, DEPRECATE_EOF)
        );
        for cut in 0..greeting.len() {
            // What is too short to have flags can do nothing, and nothing is changed beyond its
            // end.
            cannot(&mut greeting[..cut], SSL);
        }
    }
}
