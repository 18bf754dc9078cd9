//! Carrying bytes between two sockets, in both directions, until both have ended.

use std::io;
use std::net::Shutdown;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::idle::Motion;

/// How much is copied at once: 64 KB cost half the CPU of 8 KB, and more gains nothing.
const BUFFER: usize = 64 * 1024;

/// How much a direction carries by copying before it gets a pipe: what is shorter does not earn the system calls that make
/// one, and its two descriptors.
#[cfg(target_os = "linux")]
const SPLICE_AFTER: u64 = 256 * 1024;

/// Carries bytes both ways, and notes that they move. Where one side has no more to say, the other one is told so, and may go on.
pub(crate) async fn both_ways(a: &TcpStream, b: &TcpStream, motion: &Motion) -> io::Result<()> {
    tokio::try_join!(one_way(a, b, motion), one_way(b, a, motion))?;
    Ok(())
}

async fn one_way(from: &TcpStream, to: &TcpStream, motion: &Motion) -> io::Result<()> {
    let mut carried = 0;
    loop {
        from.readable().await?;
        // Made when there is something to read, so that a connection at rest has none.
        let mut buffer = Vec::with_capacity(BUFFER);
        match from.try_read_buf(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                write_all(to, &buffer, motion).await?;
                carried += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        drop(buffer);
        #[cfg(target_os = "linux")]
        if carried >= SPLICE_AFTER {
            match splice::Pipe::new() {
                Ok(pipe) => {
                    pipe.carry(from, to, motion).await?;
                    break;
                }
                // Without one: out of descriptors, perhaps for now.
                Err(_) => carried = 0,
            }
        }
    }
    match SockRef::from(to).shutdown(Shutdown::Write) {
        // It has gone meanwhile.
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}

async fn write_all(to: &TcpStream, mut bytes: &[u8], motion: &Motion) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.try_write(bytes) {
            Ok(written) => {
                motion.note();
                bytes = &bytes[written..];
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
mod splice {
    //! Moving bytes by their pages, without copying them out of the kernel and in again.

    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
    use tokio::io::Interest;
    use tokio::net::TcpStream;

    use crate::idle::Motion;

    /// How much the pipe holds where the system allows it: fewer turns for as many bytes.
    const PIPE: usize = 512 * 1024;

    pub(super) struct Pipe {
        out: OwnedFd,
        into: OwnedFd,
    }

    impl Pipe {
        pub(super) fn new() -> io::Result<Self> {
            let (out, into) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
            // It works at any size; users have a limit for all of their pipes.
            let _size = fcntl_setpipe_size(&into, PIPE);
            Ok(Self { out, into })
        }

        /// Carries all that comes. The pipe is empty whenever something is put in, so that having to wait means that
        /// nothing has come.
        pub(super) async fn carry(
            &self,
            from: &TcpStream,
            to: &TcpStream,
            motion: &Motion,
        ) -> io::Result<()> {
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            loop {
                let fill = || Ok(splice(from, None, &self.into, None, PIPE, flags)?);
                let mut held = from.async_io(Interest::READABLE, fill).await?;
                if held == 0 {
                    return Ok(());
                }
                while held > 0 {
                    let empty = || Ok(splice(&self.out, None, to, None, held, flags)?);
                    let moved = to.async_io(Interest::WRITABLE, empty).await?;
                    if moved == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    motion.note();
                    held -= moved;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use orchestra_core::engine::Tasks;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    /// `length` bytes that differ from place to place.
    fn bytes(length: usize, seed: u32) -> Vec<u8> {
        let step = |n: u32| n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        std::iter::successors(Some(seed), |n| Some(step(*n)))
            .map(|n| n.to_be_bytes()[0])
            .take(length)
            .collect()
    }

    #[tokio::test]
    async fn all_arrives_both_ways_at_once_and_ends_apart() {
        for (there, back) in [(0, 5), (5, 0), (70_000, 300_000), (20_000_000, 9_000_001), (100, 8_000_000)] {
            let ((mut client, a), (b, mut server)) = (pair().await, pair().await);
            let tasks = Tasks::new();
            tasks.spawn_graceful("pump", async move { both_ways(&a, &b, &Motion::default()).await.unwrap() });
            let (request, answer) = (bytes(there, 1), bytes(back, 2));
            let (mut client_in, mut client_out) = client.split();
            let (mut server_in, mut server_out) = server.split();
            let (mut asked, mut answered) = (Vec::new(), Vec::new());
            let sending = async {
                client_out.write_all(&request).await.unwrap();
                client_out.shutdown().await.unwrap();
            };
            // The answer ends only after the request: it must go on behind the request's end.
            let serving = async {
                let half = answer.len() / 2;
                let first = server_out.write_all(&answer[..half]);
                let (first, read) = tokio::join!(first, server_in.read_to_end(&mut asked));
                first.and(read.map(drop)).unwrap();
                server_out.write_all(&answer[half..]).await.unwrap();
                server_out.shutdown().await.unwrap();
            };
            let reading = async { client_in.read_to_end(&mut answered).await.unwrap() };
            tokio::join!(sending, serving, reading);
            assert!(asked == request, "{there} bytes there");
            assert!(answered == answer, "{back} bytes back");
            tasks.shutdown().await;
        }
    }

    #[tokio::test]
    async fn a_side_that_breaks_off_ends_both() {
        let ((client, a), (b, mut server)) = (pair().await, pair().await);
        SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        let ended = both_ways(&a, &b, &Motion::default()).await;
        assert!(ended.is_err(), "a reset is no end");
        drop((a, b));
        let mut came = Vec::new();
        drop(server.read_to_end(&mut came).await);
        assert!(came.is_empty());
    }
}
