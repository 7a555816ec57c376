//! The worker: counts the words of the blocks that it is sent.

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

    /// The words of a whole text: round after round, each worker counts a block of its own.
    #[schedule]
    pub async fn count_all(&self, text: &[u8], block_bytes: usize) -> anyhow::Result<Counts> {
        anyhow::ensure!(!self.is_empty(), "there are no workers");
        let mut counts = Counts::new();
        for round in text::blocks(text, block_bytes).chunks(self.len()) {
            // The last round may have fewer blocks than there are workers.
            let counters = self.select(|info| info.index() < round.len());
            let replies =
                counters.each(|worker| worker.count(round[worker.info().index()])).await?;
            for part in replies.into_values() {
                text::add(&mut counts, part);
            }
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
}
