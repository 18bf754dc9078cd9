//! Closing a connection whose client still sends.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// How long a client is listened to in all.
const LONGEST: Duration = Duration::from_secs(10);

/// How long it may be silent meanwhile: lost packets are sent again sooner.
const SILENCE: Duration = Duration::from_secs(2);

/// How much of it is thrown away, in bytes: what a client can send before it knows is what both sockets hold, some 10 MB on Linux.
const MOST: usize = 16 * 1024 * 1024;

/// How much of that is read at once.
const AT_ONCE: usize = 16 * 1024;

/// Tells the client that nothing more comes, and throws away what it still sends, within bounds, until it ends the connection, too. To close
/// a socket with bytes unread resets the connection, and the client may lose the answer that it has not read.
pub(crate) async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let thrown_away = async {
        stream.shutdown().await?;
        let (mut buffer, mut left) = (vec![0; AT_ONCE], MOST);
        while left > 0 {
            match tokio::time::timeout(SILENCE, stream.read(&mut buffer)).await {
                Ok(Ok(read @ 1..)) => left = left.saturating_sub(read),
                _ => break,
            }
        }
        io::Result::Ok(())
    };
    // What it comes to does not matter any more.
    let _closed = tokio::time::timeout(LONGEST, thrown_away).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::time::Instant;

    use super::*;

    /// How long a client is listened to that sends so much, again and again after so long.
    async fn listened_to(piece: usize, pause: Duration) -> (Duration, usize) {
        let (ours, mut theirs) = duplex(64 * 1024);
        let (began, mut sent) = (Instant::now(), 0);
        let client = async {
            assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0, "it is told first");
            while theirs.write_all(&vec![0; piece]).await.is_ok() {
                sent += piece;
                tokio::time::sleep(pause).await;
            }
        };
        let lingering = async {
            linger(ours).await;
            began.elapsed()
        };
        let (took, ()) = tokio::join!(lingering, client);
        (took, sent)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_listened_to_within_bounds() {
        assert_eq!(listened_to(1, Duration::from_secs(3)).await.0, SILENCE);
        assert_eq!(listened_to(1, Duration::from_secs(1)).await.0, LONGEST);
        let (took, sent) = listened_to(1024, Duration::ZERO).await;
        assert!(took < LONGEST && (MOST..MOST + 128 * 1024).contains(&sent), "{sent} bytes in {took:?}");
        let (ours, theirs) = duplex(64);
        drop(theirs);
        let began = Instant::now();
        linger(ours).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
