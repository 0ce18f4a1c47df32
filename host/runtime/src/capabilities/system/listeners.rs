//! Sockets that listen.

use super::ReadError;
use crate::bindings::runbook::system::types::{Listener, Protocol};
use procfs::net::{TcpState, UdpState};
use procfs::process::FDTarget;
use procfs::{ProcError, ProcResult};
use runbook_authority::targets::SystemTarget;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The listeners, by protocol, port and address; with a port, only those on it.
pub(super) fn read(target: &SystemTarget, asked: Option<u16>) -> Result<Vec<Listener>, ReadError> {
    let mut sockets = Vec::new();
    for entry in all(procfs::net::tcp())?.into_iter().chain(all(procfs::net::tcp6())?) {
        if entry.state == TcpState::Listen {
            sockets.push((Protocol::Tcp, entry.local_address, entry.inode));
        }
    }
    for entry in all(procfs::net::udp())?.into_iter().chain(all(procfs::net::udp6())?) {
        if entry.state == UdpState::Close {
            sockets.push((Protocol::Udp, entry.local_address, entry.inode));
        }
    }
    sockets.retain(|(_, address, _)| asked.is_none_or(|port| address.port() == port));
    let owners = if sockets.is_empty() { BTreeMap::new() } else { owners(target)? };
    let order = |protocol: &Protocol, address: &SocketAddr| {
        (matches!(protocol, Protocol::Udp), address.port(), address.ip())
    };
    sockets.sort_by_key(|(protocol, address, _)| order(protocol, address));
    let listener = |(protocol, address, inode): (Protocol, SocketAddr, u64)| Listener {
        protocol,
        address: address.ip().to_string(),
        port: address.port(),
        process: owners.get(&inode).cloned(),
    };
    Ok(sockets.into_iter().map(listener).collect())
}

/// The entries of a table; none if the kernel has no such protocol.
fn all<T>(table: ProcResult<Vec<T>>) -> Result<Vec<T>, ReadError> {
    match table {
        Err(ProcError::NotFound(_)) => Ok(Vec::new()),
        table => Ok(table?),
    }
}

/// The names of the processes that have sockets, by the number of the socket: those that the target
/// lets be seen and the kernel shows to this program.
fn owners(target: &SystemTarget) -> Result<BTreeMap<u64, String>, ReadError> {
    let mut owners = BTreeMap::new();
    if target.processes.is_empty() {
        return Ok(owners);
    }
    for process in procfs::process::all_processes()?.flatten() {
        let Ok(stat) = process.stat() else { continue };
        if !target.shows_process(&stat.comm) {
            continue;
        }
        let Ok(descriptors) = process.fd() else { continue };
        for descriptor in descriptors.flatten() {
            if let FDTarget::Socket(inode) = descriptor.target {
                owners.entry(inode).or_insert_with(|| stat.comm.clone());
            }
        }
    }
    Ok(owners)
}
