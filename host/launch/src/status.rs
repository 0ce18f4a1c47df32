//! The channel between a host and its launcher: by it the launcher gets the standard input of the
//! program, and tells why it did not become the program.

use crate::LaunchRefusal;
use rustix::io::{IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// The end of the channel that the host keeps.
///
/// The other end is the standard input of the launcher, which keeps it to itself: it is closed when
/// the launcher becomes the program. So nothing that a program does can look like a launcher that
/// did not start it.
#[derive(Debug)]
pub struct Status(File);

impl Status {
    /// A new channel, with `stdin` as the standard input of the program. The second value is to be
    /// the standard input of the launcher.
    ///
    /// # Errors
    /// If the system has no resources for it.
    pub fn new(stdin: impl AsFd) -> io::Result<(Self, OwnedFd)> {
        let (host, launcher) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut message = SendAncillaryBuffer::new(&mut space);
        let descriptors = [stdin.as_fd()];
        if !message.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        sendmsg(&host, &[IoSlice::new(&[0])], &mut message, SendFlags::empty())?;
        // It is only read when the launcher has ended or has become the program.
        rustix::io::ioctl_fionbio(&host, true)?;
        Ok((Self(host.into()), launcher))
    }

    /// Why the launcher did not become the program; `None` if it did, or if it was killed before it
    /// could tell.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(mut self) -> io::Result<Option<LaunchRefusal>> {
        let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            match self.0.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => text.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // A launcher that was killed before it took its message.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => return Err(error),
            }
        }
        if text.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&text).map(Some).map_err(io::Error::from)
    }
}

/// The end of the channel that the launcher keeps. It is closed when the launcher becomes the
/// program.
#[derive(Debug)]
pub(crate) struct LauncherStatus(File);

impl LauncherStatus {
    /// Takes the channel from the standard input, and puts that of the program in its place.
    ///
    /// # Errors
    /// If the standard input is no channel, because no host called the launcher.
    pub(crate) fn take_from_stdin() -> io::Result<Self> {
        let channel = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut message = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        recvmsg(&channel, &mut [IoSliceMut::new(&mut byte)], &mut message, flags)?;
        let stdin = message.drain().find_map(|part| match part {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let stdin = stdin.ok_or(io::ErrorKind::UnexpectedEof)?;
        rustix::stdio::dup2_stdin(&stdin)?;
        Ok(Self(channel.into()))
    }

    /// Tells the host why there is no program. The host may have ended; nobody is told then.
    pub(crate) fn tell(mut self, refusal: &LaunchRefusal) {
        let text = serde_json::to_vec(refusal).unwrap_or_default();
        let _ = self.0.write_all(&text);
    }
}
