//! Writing several pieces at once.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Up to this many bytes are put together in memory: the kernel takes one piece faster than it takes the list of several,
/// by more than the copy costs. A head and a small body fit.
const PUT_TOGETHER: usize = 8 * 1024;

thread_local! {
    static TOGETHER: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(PUT_TOGETHER));
}

/// Writes from `pieces` in order, as much as the stream takes; how much it was is returned, as with any write.
pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [one] = pieces {
        return Pin::new(stream).poll_write(cx, one);
    }
    if pieces.iter().map(|piece| piece.len()).sum::<usize>() > PUT_TOGETHER {
        return Pin::new(stream).poll_write_vectored(cx, pieces);
    }
    TOGETHER.with_borrow_mut(|together| {
        together.clear();
        pieces.iter().for_each(|piece| together.extend_from_slice(piece));
        Pin::new(stream).poll_write(cx, together)
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn pieces_arrive_in_order_and_no_more_is_claimed_than_was_taken() {
        let large = vec![b'c'; PUT_TOGETHER];
        for pieces in [&[&b"a"[..]][..], &[b"a", b"", b"bc"], &[b"a", &large, b"d"], &[]] {
            let all = pieces.concat();
            let pieces: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            // More than all of it fits; and less than half.
            for room in [2 * PUT_TOGETHER, 2] {
                let (mut from, mut to) = tokio::io::duplex(room);
                let taken = std::future::poll_fn(|cx| poll_write(&mut from, cx, &pieces)).await.unwrap();
                assert!(taken <= room && taken <= all.len());
                assert!(taken > 0 || all.is_empty());
                drop(from);
                let mut came = Vec::new();
                to.read_to_end(&mut came).await.unwrap();
                assert_eq!(came, all[..taken]);
            }
        }
    }
}
