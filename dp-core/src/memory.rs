//! The memory of large values.

use std::hint::black_box;
use std::sync::Once;

/// Values from this length on are large: glibc gets memory of such a length from the system, to begin
/// with, and gives it back at once.
const LARGE: usize = 128 << 10;

/// The most that glibc can be brought to keep: its `DEFAULT_MMAP_THRESHOLD_MAX` on 64-bit systems, less
/// what it adds to a block.
const KEPT: usize = (32 << 20) - (64 << 10);

/// A value of this length is about to be read or written.
///
/// With the first large one the process's allocator is told, if it is glibc's, to keep what large values
/// leave behind for the next ones. By itself it gives the memory back to the system, which clears it
/// anew, a page at a time: for values of a megabyte that takes several times as long as everything else
/// that is done with them. It goes by the largest block that was ever freed, up to 32 MiB: blocks up to
/// that length are not the system's any more, and of what is free at the end of a heap twice as much
/// stays there (mallopt(3), `M_MMAP_THRESHOLD` and `M_TRIM_THRESHOLD`). So such a block is allocated,
/// not touched, and freed. Where these settings were made in the environment, or another allocator is in
/// use, that does nothing.
pub(crate) fn expect(length: usize) {
    static ONCE: Once = Once::new();
    if length >= LARGE {
        ONCE.call_once(|| {
            let mut block = Vec::<u8>::new();
            // Where so much is refused, everything stays as it was.
            let _ = block.try_reserve_exact(KEPT);
            drop(black_box(block));
        });
    }
}
