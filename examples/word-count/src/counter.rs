//! The worker: counts the words of the blocks that it is sent.

use anyhow::Context as _;
use dp_core::distributed_worker;

use crate::text::{self, Counts};

/// Counts words on the machine that it lives on.
#[derive(Debug, Default)]
pub struct WordCounter;

#[distributed_worker]
impl WordCounter {
    /// The words of one block. A block travels as it is, without a copy of it being made here.
    #[remote]
    pub fn count(&self, block: &[u8]) -> Counts {
        text::count(block)
    }

    /// The words of a whole text: each worker counts one block after another, the next one whenever it
    /// is free, so that a slow machine does not hold up the others.
    #[schedule]
    pub async fn count_all(&self, text: &[u8], block_bytes: usize) -> anyhow::Result<Counts> {
        let blocks = text::blocks(text, block_bytes);
        // A block that was counted twice has but one result: that of a lost worker may go to another.
        let mut parts =
            self.map(blocks, |worker, block| worker.count(block)).retry_maybe_executed().stream();
        let mut counts = Counts::new();
        while let Some(part) = parts.next().await {
            let number = part.item;
            text::add(&mut counts, part.result.with_context(|| format!("block {number}"))?);
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dp_core::MasterWorker;

    #[tokio::test]
    async fn many_workers_count_what_one_counts() {
        let text = "A rose is a rose is a rose. Eine Rose — être, 日本 rose's\n".repeat(500);
        for workers in [1, 3, 8] {
            let master = MasterWorker::<WordCounter>::in_process(workers, |_info| WordCounter);
            for block_bytes in [100, 5_000, 1_000_000] {
                let counts = master.count_all(text.as_bytes(), block_bytes).await.unwrap();
                assert_eq!(counts, text::count(text.as_bytes()));
            }
        }
    }

    #[tokio::test]
    async fn an_empty_text_has_no_words() {
        let master = MasterWorker::<WordCounter>::in_process(2, |_info| WordCounter);
        assert!(master.count_all(b"", 10).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn without_workers_the_first_block_says_so() {
        let master = MasterWorker::<WordCounter>::in_process(0, |_info| WordCounter);
        let error = master.count_all(b"a text", 10).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "block 0: not sent: no worker is left (not executed)");
    }
}
