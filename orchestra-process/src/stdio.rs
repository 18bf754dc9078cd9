//! Carries what a program reads and writes between its pipes and channels.

use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use orchestra_core::clock::SharedClock;
use orchestra_core::runtime::{LogChunk, LogSource};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use crate::reap::Status;

/// Bytes read at once: a quarter of a pipe.
const READ_SIZE: usize = 16 * 1024;

/// What a terminal takes for the end of input: Ctrl-D.
const END_OF_INPUT: &[u8] = &[4];

type Ended = watch::Receiver<Option<Status>>;

/// Where a program's output goes.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) source: LogSource,
    pub(crate) clock: SharedClock,
    pub(crate) to: mpsc::Sender<LogChunk>,
}

/// To be called inside a tokio runtime.
pub(crate) fn async_fd(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    #[allow(unsafe_code, reason = "the safe constructor is deprecated")]
    // SAFETY: an `OwnedFd` is open and the same descriptor until it is dropped, and the `AsyncFd` owns it.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}

/// Reads until the end of the output; and once the program has ended only what is there already, since its
/// children may hold its output open for as long as they like.
pub(crate) async fn pump_output(from: AsyncFd<OwnedFd>, output: Output, mut ended: Ended) {
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let over = ended.borrow().is_some();
        match rustix::io::read(&from, &mut buffer[..]) {
            Ok(0) => return,
            Ok(read) => {
                let bytes = Bytes::copy_from_slice(&buffer[..read]);
                let chunk = LogChunk { source: output.source, at: output.clock.now(), bytes };
                if output.to.send(chunk).await.is_err() {
                    return;
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if over => return,
            Err(Errno::WOULDBLOCK) => {
                tokio::select! {
                    biased;
                    ready = from.readable() => match ready {
                        // Read once more before waiting: the readiness may be an old one.
                        Ok(mut ready) => ready.clear_ready(),
                        Err(_) => return,
                    },
                    // Gone with its sender: it won't end any more than this.
                    gone = ended.wait_for(Option::is_some) => if gone.is_err() { return },
                }
            }
            // A terminal whose last program has gone answers with EIO.
            Err(_) => return,
        }
    }
}

/// Writes what the client sends, until it or the program ends.
pub(crate) async fn pump_input(
    to: AsyncFd<OwnedFd>,
    mut from: mpsc::Receiver<Bytes>,
    terminal: bool,
    mut ended: Ended,
) {
    loop {
        let bytes = tokio::select! {
            biased;
            _ = ended.wait_for(Option::is_some) => return,
            bytes = from.recv() => bytes,
        };
        let last = bytes.is_none();
        let bytes = match bytes {
            Some(bytes) => bytes,
            None if terminal => Bytes::from_static(END_OF_INPUT),
            None => return,
        };
        let written = tokio::select! {
            biased;
            _ = ended.wait_for(Option::is_some) => return,
            written = write_all(&to, &bytes) => written,
        };
        // The program has closed its input: what comes now is for nobody.
        if written.is_err() || last {
            return;
        }
    }
}

async fn write_all(to: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => to.writable().await?.clear_ready(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
