//! Handing the listening sockets of one process over to another one.
//!
//! The sockets themselves are passed, over a Unix socket, and not only their address: a socket that is closed resets the
//! connections that wait in it, also where others share its address.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use socket2::Socket;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use crate::error::NetError;
use crate::listener::{ACCEPT_PAUSE, Listening};
use crate::workers::Workers;

/// How many sockets are passed at most: what Linux passes at once.
const MOST: usize = 253;

/// How long the process that takes over may take to start serving. Then it counts as failed, and may try again.
const SERVING_WITHIN: Duration = Duration::from_secs(60);

/// What the process that takes over says once it serves.
const SERVES: u8 = b's';

/// The process that has taken over what this one listened on. Dropping it tells that one that everything else, such as the address
/// of an admin listener, is free for it, too.
#[derive(Debug)]
#[must_use = "dropping it says that this process has let go of what it had"]
pub struct Heir {
    _stream: UnixStream,
}

impl Heir {
    /// Offers the sockets of all that is in `listening` at `path`, a Unix socket that only this user can reach, and
    /// returns when another process has [inherited](Workers::inherit) them and serves. What is there at `path` is replaced, and left
    /// there at the end: it is the other process's turn to offer. All of them go on all the time: shut them down next. They then finish
    /// what they have accepted; with [`HttpOptions::idle_grace`](crate::HttpOptions::idle_grace) no client that keeps its connection
    /// notices either.
    ///
    /// Datagrams are read by one process at a time: by the other one from when this returns, which begins sessions of its own. With
    /// [`UdpOptions::shutdown_grace`](crate::UdpOptions::shutdown_grace) those that are here are still answered.
    ///
    /// A process that takes the sockets and does not serve within a minute, or dies, is told as a warning, and the next one is
    /// waited for; it may be the same one, when it serves after all. Dropping the future ends the offer: a process that has the sockets by
    /// then takes this one for ended.
    ///
    /// # Errors
    /// [`NetError::HandOver`] where nothing can be offered at `path`.
    pub async fn wait(path: &Path, listening: &[&Listening]) -> Result<Self, NetError> {
        let failed = |source| NetError::HandOver { path: path.to_owned(), source };
        let offer = offer(path).map_err(failed)?;
        loop {
            let mut stream = match accept(&offer).await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "could not accept a connection; pauses");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let given = tokio::time::timeout(SERVING_WITHIN, give(&mut stream, listening)).await;
            match given.map_err(|_elapsed| io::ErrorKind::TimedOut.into()).flatten() {
                Ok(()) => {
                    for listening in listening {
                        listening.passed_on().await;
                    }
                    return Ok(Self { _stream: stream });
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a process took the sockets over and does not serve");
                }
            }
        }
    }
}

/// Takes the place of whoever was offering, without a moment in which nobody does.
fn offer(path: &Path) -> io::Result<UnixListener> {
    let mut own = path.as_os_str().to_owned();
    own.push(format!(".{}", std::process::id()));
    let own = PathBuf::from(own);
    // Of a process that had this number before.
    if own.exists() {
        std::fs::remove_file(&own)?;
    }
    let listener = UnixListener::bind(&own)?;
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&own, path)?;
    Ok(listener)
}

/// A connection of this user, or of root. The socket's mode keeps others away only from when it is set.
async fn accept(offer: &UnixListener) -> io::Result<UnixStream> {
    let (stream, _) = offer.accept().await?;
    match stream.peer_cred()?.uid() {
        uid if uid == 0 || uid == rustix::process::geteuid().as_raw() => Ok(stream),
        uid => Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it is of user {uid}"))),
    }
}

async fn give(stream: &mut UnixStream, listening: &[&Listening]) -> io::Result<()> {
    let mut sockets = Vec::new();
    for listening in listening {
        sockets.extend(listening.sockets()?);
    }
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(|socket| socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other(format!(
            "more than {MOST} sockets can't be passed: use fewer threads, or fewer listeners"
        )));
    }
    let connection = &*stream;
    let mut send = || Ok(sendmsg(connection, &[IoSlice::new(&[SERVES])], &mut control, SendFlags::NOSIGNAL)?);
    connection.async_io(Interest::WRITABLE, &mut send).await?;
    match stream.read_u8().await? {
        SERVES => Ok(()),
        other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it says {other}"))),
    }
}

/// The process whose sockets these [`Workers`] have taken over.
#[derive(Debug)]
#[must_use = "the other process goes on until it is told that this one serves"]
pub struct Inherited {
    path: PathBuf,
    workers: Workers,
    stream: UnixStream,
    /// For as long as it is there, datagrams are the other process's.
    hold: watch::Sender<()>,
}

impl Workers {
    /// Takes over the sockets that another process offers at `path` ([`Heir::wait`]). What is bound to these threads from here on, at an
    /// address of one of the sockets, listens on these, beside the other process, which goes on; datagrams are left to it until
    /// [`Inherited::serving`]. `None` where nobody offers any: then this is the first process, and makes its own.
    ///
    /// # Errors
    /// [`NetError::HandOver`] where somebody does, and they can't be had.
    pub async fn inherit(&self, path: &Path) -> Result<Option<Inherited>, NetError> {
        let failed = |source| NetError::HandOver { path: path.to_owned(), source };
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            // Nobody yet, or nobody any more.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        let hold = self.take_over(take(&stream).await.map_err(failed)?);
        Ok(Some(Inherited { path: path.to_owned(), workers: self.clone(), stream, hold }))
    }
}

async fn take(stream: &UnixStream) -> io::Result<Vec<Socket>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut receive = || {
        let flags = RecvFlags::CMSG_CLOEXEC;
        Ok(recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?.bytes)
    };
    if stream.async_io(Interest::READABLE, &mut receive).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors.map(|descriptor: OwnedFd| Socket::from(descriptor)));
        }
    }
    sockets.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
    Ok(sockets)
}

impl Inherited {
    /// Tells the other process that this one serves, so that it accepts nothing more, and returns when it has let go of everything
    /// that it does not need to finish its requests. Sockets at addresses that nothing was bound to are closed, with a warning. To be
    /// called before this process offers anything at the same path.
    ///
    /// It may be told at any time: a process that has waited for too long offers its sockets again, and hears it then.
    ///
    /// # Errors
    /// [`NetError::HandOver`] where the other process has ended meanwhile. Nothing is lost by that: its sockets are here.
    pub async fn serving(self) -> Result<(), NetError> {
        let Self { path, workers, mut stream, hold } = self;
        for left in workers.leave() {
            let address = left.local_addr().ok().and_then(|address| address.as_socket());
            tracing::warn!(
                ?address,
                "another process listened here, and this one does not: closes the socket"
            );
        }
        let mut hold = Some(hold);
        while let Err(source) = tell(&mut stream, &mut hold).await {
            // One that has waited for too long goes on, and offers its sockets. Where nobody does, it has ended.
            match offered_again(&path).await {
                Ok(again) => stream = again,
                Err(_nobody) => return Err(NetError::HandOver { path, source }),
            }
        }
        Ok(())
    }
}

/// Says that this process serves, and waits until the other one has let go.
async fn tell(stream: &mut UnixStream, hold: &mut Option<watch::Sender<()>>) -> io::Result<()> {
    stream.write_u8(SERVES).await?;
    // Not before: one that has waited for too long still reads.
    drop(hold.take());
    // It says nothing more, and ends. Where it has not heard, that is an error.
    match stream.read_u8().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

/// Connects once more to whoever offers sockets at `path`. These are here already.
async fn offered_again(path: &Path) -> io::Result<UnixStream> {
    loop {
        let stream = UnixStream::connect(path).await?;
        match take(&stream).await {
            Ok(_sockets) => return Ok(stream),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "no sockets came; tries again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
