//! Relays the connection between the driver and a MySQL or MariaDB server.
//!
//! The driver reads a row of any size into memory. So it connects to a Unix socket of the host, in
//! a private directory, and the host relays packets to the server. The host also encrypts the
//! connection; the driver does not know of TLS, so the relay adapts the login packets. It drops
//! rows that are larger than the target allows, before they are in memory.

mod login;

use super::super::DatabaseAccess;
use super::super::stream::{
    MIN_ROW_LIMIT, RelayStatus, Stream, connect_network, connect_unix_socket, discard,
    local_socket_fault,
};
use crate::fault::Fault;
use crate::net::route::ServerStream;
use runbook_authority::targets::{SqlAddress, TlsMode};
use runbook_secrets::Secret;
use rustls::ClientConfig;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

// Capability flags of the protocol.
const COMPRESS: u32 = 1 << 5;
const LOCAL_FILES: u32 = 1 << 7;
const SSL: u32 = 1 << 11;
const DEPRECATE_EOF: u32 = 1 << 24;

/// The largest packet, in bytes. The body of a full packet continues in the next packet.
const MAX_PACKET: usize = 0xff_ff_ff;

/// The largest packet during the login, in bytes.
const MAX_LOGIN_PACKET: usize = 64 << 10;

/// How a result ends in which a row was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TruncatedResult {
    /// The driver gets an end-of-result packet at once, so that it does not wait for more rows.
    EndsAtOnce,
    /// The driver gets the end that the server sends, because the rest of the statement may fail.
    EndsWithServer,
}

/// A running relay for one connection of the driver; dropping it ends the connection.
pub(super) struct RelayHandle {
    folder: TempDir,
    status: Arc<RelayStatus>,
    relay: tokio::task::JoinHandle<()>,
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

impl RelayHandle {
    /// Connects to the server of a target, and waits for the driver at [`socket`](Self::socket).
    pub(super) async fn open(
        access: &DatabaseAccess,
        truncated_result: TruncatedResult,
    ) -> Result<Self, Fault> {
        let SqlAddress::Server { host, tls, .. } = &access.sql().address else {
            unreachable!("only MySQL targets come here");
        };
        let folder = tempfile::Builder::new()
            .prefix("runbook-sql-")
            .tempdir()
            .map_err(local_socket_fault)?;
        let listener =
            UnixListener::bind(folder.path().join("sock")).map_err(local_socket_fault)?;
        let server = if host.starts_with('/') {
            Server::Socket(connect_unix_socket(&Path::new(host).join("mysqld.sock")).await?)
        } else {
            let (host, config) = (host.clone(), access.tls.clone());
            Server::Network { stream: connect_network(access).await?, host, mode: *tls, config }
        };
        let status = Arc::new(RelayStatus::default());
        let relay = Relay {
            status: Arc::clone(&status),
            max_row: usize::try_from(access.sql().max_bytes.0)
                .unwrap_or(usize::MAX)
                .max(MIN_ROW_LIMIT),
            password: access.password.clone(),
            truncated_result,
        };
        let relay = tokio::spawn(async move {
            // However the relay ends, both sides see the end of their stream.
            let Ok((driver, _)) = listener.accept().await else { return };
            let _ = relay.run(driver, server).await;
        });
        Ok(Self { folder, status, relay })
    }

    /// The path of the Unix socket for the driver.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// Whether a row was dropped because it is larger than the target allows.
    pub(super) fn is_truncated(&self) -> bool {
        self.status.is_truncated()
    }

    /// The recorded reason why the connection ended; `default_fault` if there is none.
    pub(super) fn end_reason_or(&self, default_fault: Fault) -> Fault {
        self.status.end_reason_or(default_fault)
    }
}

/// A connection to a server before its greeting.
enum Server {
    Socket(UnixStream),
    Network { stream: ServerStream, host: String, mode: TlsMode, config: Option<Arc<ClientConfig>> },
}

/// A packet of the protocol.
struct Packet {
    number: u8,
    body: Vec<u8>,
}

impl Packet {
    /// Reads one packet of the login.
    async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let (length, number) = read_header(stream).await?;
        if length > MAX_LOGIN_PACKET {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        Ok(Self { number, body })
    }

    async fn write(&self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        stream
            .write_all(
                &[&packet_header(self.body.len(), self.number), self.body.as_slice()].concat(),
            )
            .await?;
        stream.flush().await
    }
}

async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(usize, u8)> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let [low, middle, high, number] = header;
    Ok((usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16, number))
}

fn packet_header(length: usize, number: u8) -> [u8; 4] {
    let [low, middle, high, ..] = length.to_le_bytes();
    [low, middle, high, number]
}

/// Relays packets between the driver and the server.
struct Relay {
    status: Arc<RelayStatus>,
    /// The largest row that is passed on, in bytes.
    max_row: usize,
    password: Option<Secret>,
    truncated_result: TruncatedResult,
}

/// A session that has logged in.
struct Session {
    server: Box<dyn Stream>,
    flags: u32,
}

impl Relay {
    async fn run(&self, mut driver: UnixStream, server: Server) -> io::Result<()> {
        let result = self.forward(&mut driver, server).await;
        // The reason is recorded before the driver sees the end of its stream.
        result.inspect_err(|error| self.status.record_client_rejection(error))
    }

    async fn forward(&self, driver: &mut UnixStream, server: Server) -> io::Result<()> {
        let Session { server, flags } = self.log_in(driver, server).await?;
        let (mut from_driver, mut to_driver) = driver.split();
        let (mut from_server, mut to_server) = tokio::io::split(server);
        let forward_from_driver = async {
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
        let forward_from_server = self.forward_from_server(&mut from_server, &mut to_driver, flags);
        // When one side ends, the other is closed too, so that the server learns at once that its
        // client is gone.
        tokio::select! {
            result = forward_from_driver => result,
            result = forward_from_server => result,
        }
    }

    /// Forwards the packets of the server. Drops a row that is too large, and the rest of its
    /// result.
    async fn forward_from_server(
        &self,
        server: &mut (impl AsyncRead + Unpin),
        driver: &mut (impl AsyncWrite + Unpin),
        flags: u32,
    ) -> io::Result<()> {
        let mut server = tokio::io::BufReader::with_capacity(64 << 10, server);
        let mut is_dropping = false;
        loop {
            let (length, number) = read_header(&mut server).await?;
            if length < MAX_PACKET && length <= self.max_row {
                let first = if length > 0 { Some(server.read_u8().await?) } else { None };
                let is_end = matches!((first, length), (Some(0xff), _) | (Some(0xfe), ..9));
                let rest = length - usize::from(first.is_some());
                if is_dropping
                    && !(is_end && self.truncated_result == TruncatedResult::EndsWithServer)
                {
                    is_dropping = !is_end;
                    discard(&mut server, rest).await?;
                    continue;
                }
                is_dropping = false;
                driver.write_all(&packet_header(length, number)).await?;
                driver.write_all(first.as_slice()).await?;
                tokio::io::copy(&mut (&mut server).take(rest as u64), driver).await?;
                continue;
            }
            let large_body = self.read_large_packet(&mut server, length).await?;
            match large_body {
                Some(body) if !is_dropping => {
                    for (part, chunk) in (0_u8..).zip(split_into_packets(&body)) {
                        driver
                            .write_all(&packet_header(chunk.len(), number.wrapping_add(part)))
                            .await?;
                        driver.write_all(chunk).await?;
                    }
                }
                Some(_) | None => {
                    if !is_dropping {
                        self.status.set_truncated();
                        if self.truncated_result == TruncatedResult::EndsAtOnce {
                            driver.write_all(&end_of_result_packet(number, flags)).await?;
                        }
                    }
                    is_dropping = true;
                }
            }
        }
    }

    /// Reads the rest of a large body, which may continue in further packets. `None` if it is
    /// larger than a row may be.
    async fn read_large_packet(
        &self,
        server: &mut (impl AsyncRead + Unpin),
        first_length: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        let mut body = Some(Vec::new());
        let mut length = first_length;
        loop {
            match &mut body {
                Some(bytes) if bytes.len() + length <= self.max_row => {
                    (&mut *server).take(length as u64).read_to_end(bytes).await?;
                }
                Some(_) | None => {
                    body = None;
                    discard(server, length).await?;
                }
            }
            if length < MAX_PACKET {
                return Ok(body);
            }
            (length, _) = read_header(server).await?;
        }
    }
}

/// Splits a body into packets. A full packet is always followed by another, perhaps an empty one.
fn split_into_packets(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let full = body.len() / MAX_PACKET;
    (0..=full).map(move |part| &body[part * MAX_PACKET..body.len().min((part + 1) * MAX_PACKET)])
}

/// The packet that a server sends after the last row.
fn end_of_result_packet(number: u8, flags: u32) -> Vec<u8> {
    // No warnings, and the autocommit status.
    let body: &[u8] =
        if flags & DEPRECATE_EOF == 0 { &[0xfe, 0, 0, 2, 0] } else { &[0xfe, 0, 0, 2, 0, 0, 0] };
    [&packet_header(body.len(), number), body].concat()
}

/// The offsets of the four bytes of capability flags in a greeting: two bytes after the first part
/// of the nonce, and two more three bytes later.
fn capability_flag_offsets(greeting: &[u8]) -> Option<[usize; 4]> {
    let name = greeting.get(1..)?.iter().position(|byte| *byte == 0)?;
    let offset = 1 + name + 1 + 4 + 8 + 1;
    Some([offset, offset + 1, offset + 5, offset + 6]).filter(|offsets| offsets[3] < greeting.len())
}

fn has_capability(greeting: &[u8], flag: u32) -> bool {
    capability_flag_offsets(greeting).is_some_and(|capability_flag_offsets| {
        u32::from_le_bytes(capability_flag_offsets.map(|offset| greeting[offset])) & flag != 0
    })
}

fn clear_capabilities(greeting: &mut [u8], flags: u32) {
    for (offset, mask) in
        capability_flag_offsets(greeting).into_iter().flatten().zip(flags.to_le_bytes())
    {
        greeting[offset] &= !mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodes a body as packets.
    fn packets(number: u8, body: &[u8]) -> Vec<u8> {
        let mut packets = Vec::new();
        for (number, part) in (number..).zip(split_into_packets(body)) {
            packets.extend_from_slice(&packet_header(part.len(), number));
            packets.extend_from_slice(part);
        }
        packets
    }

    /// Decodes the bodies that a driver reads.
    async fn bodies(mut from: &[u8]) -> Vec<Vec<u8>> {
        let mut bodies = vec![Vec::new()];
        while let Ok((length, _)) = read_header(&mut from).await {
            let (body, rest) = from.split_at(length);
            bodies.last_mut().unwrap().extend_from_slice(body);
            from = rest;
            if length < MAX_PACKET {
                bodies.push(Vec::new());
            }
        }
        bodies.pop();
        bodies
    }

    /// The bodies that a driver receives if a server sends these, and whether a row was dropped.
    async fn driver_receives(
        max_row: usize,
        truncated_result: TruncatedResult,
        packets_sent: &[Vec<u8>],
    ) -> (Vec<Vec<u8>>, bool) {
        let relay = Relay {
            status: Arc::new(RelayStatus::default()),
            max_row,
            password: None,
            truncated_result,
        };
        let packets_sent =
            packets_sent.iter().map(|body| packets(3, body)).collect::<Vec<_>>().concat();
        let mut driver = Vec::new();
        let result = relay
            .forward_from_server(&mut packets_sent.as_slice(), &mut driver, DEPRECATE_EOF)
            .await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        (bodies(&driver).await, relay.status.is_truncated())
    }

    const END_OF_RESULT: &[u8] = &[0xfe, 0, 0, 2, 0, 0, 0];

    fn row(length: usize) -> Vec<u8> {
        let mut body = vec![b'x'; length];
        body[0] = 0;
        body
    }

    #[tokio::test]
    async fn rows_of_every_size_around_that_of_a_packet_arrive_whole() {
        for length in [
            1,
            2,
            MAX_PACKET - 1,
            MAX_PACKET,
            MAX_PACKET + 1,
            2 * MAX_PACKET - 1,
            2 * MAX_PACKET,
            2 * MAX_PACKET + 1,
        ] {
            let packets_sent = [row(8), row(length), row(9), END_OF_RESULT.to_vec()];
            for truncated_result in [TruncatedResult::EndsAtOnce, TruncatedResult::EndsWithServer] {
                assert!(
                    driver_receives(length.max(9), truncated_result, &packets_sent).await
                        == (packets_sent.to_vec(), false),
                    "{length}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_row_that_is_too_large_ends_its_result_and_no_other() {
        for length in [101, MAX_PACKET - 1, MAX_PACKET, MAX_PACKET + 1, 2 * MAX_PACKET] {
            let max_row = length - 1;
            let next = [vec![0, 7], row(9), END_OF_RESULT.to_vec()];
            let packets_sent =
                [&[row(8), row(length), row(9), row(length), END_OF_RESULT.to_vec()][..], &next]
                    .concat();
            let expected = [&[row(8), END_OF_RESULT.to_vec()][..], &next].concat();
            for truncated_result in [TruncatedResult::EndsAtOnce, TruncatedResult::EndsWithServer] {
                assert!(
                    driver_receives(max_row, truncated_result, &packets_sent).await
                        == (expected.clone(), true),
                    "{length}, {truncated_result:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn an_error_after_a_dropped_row_is_passed_on_if_the_result_ends_with_the_server() {
        let error_packet = vec![0xff, 1, 2];
        let packets_sent = [row(8), row(200), error_packet.clone()];
        assert_eq!(
            driver_receives(100, TruncatedResult::EndsWithServer, &packets_sent).await,
            (vec![row(8), error_packet], true)
        );
        assert_eq!(
            driver_receives(100, TruncatedResult::EndsAtOnce, &packets_sent).await,
            (vec![row(8), END_OF_RESULT.to_vec()], true)
        );
    }

    #[test]
    fn the_relay_hides_the_capabilities_that_it_handles_itself() {
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
        assert!(has_capability(&greeting, SSL) && has_capability(&greeting, DEPRECATE_EOF));
        clear_capabilities(&mut greeting, SSL | COMPRESS | LOCAL_FILES);
        assert!(
            !has_capability(&greeting, SSL)
                && !has_capability(&greeting, COMPRESS)
                && !has_capability(&greeting, LOCAL_FILES)
                && has_capability(&greeting, DEPRECATE_EOF)
        );
        for length in 0..greeting.len() {
            // A greeting that is too short for flags has no capabilities, and is not changed.
            clear_capabilities(&mut greeting[..length], SSL);
        }
    }
}
