//! What the operating system, or a person at the keyboard, has to say beside the lines of input.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use tokio::sync::watch;

/// How many wait for the console; it needs two at the most.
const WAITING: usize = 8;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// To end in an orderly way.
    Terminate,
    /// The same: the terminal is gone.
    HangUp,
}

/// Signals that nobody has acted on yet. Clones share them: each is acted on once.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    waiting: watch::Receiver<VecDeque<Signal>>,
    sender: Option<Arc<watch::Sender<VecDeque<Signal>>>>,
}

/// Where signals come from.
#[derive(Debug, Clone)]
pub(crate) struct SignalSender(Arc<watch::Sender<VecDeque<Signal>>>);

impl Signals {
    /// None come.
    pub(crate) fn none() -> Self {
        Self { waiting: watch::channel(VecDeque::new()).1, sender: None }
    }

    pub(crate) fn channel() -> (SignalSender, Self) {
        let (sender, waiting) = watch::channel(VecDeque::new());
        let sender = Arc::new(sender);
        (SignalSender(sender.clone()), Self { waiting, sender: Some(sender) })
    }

    /// Takes the next one. Cancel safe.
    pub(super) async fn next(&mut self) -> Signal {
        loop {
            self.any().await;
            let mut taken = None;
            if let Some(sender) = &self.sender {
                sender.send_modify(|waiting| taken = waiting.pop_front());
            }
            if let Some(signal) = taken {
                return signal;
            }
        }
    }

    /// Completes while one is there that nobody has taken. Cancel safe.
    pub(crate) async fn any(&mut self) {
        if self.waiting.wait_for(|waiting| !waiting.is_empty()).await.is_err() {
            pending().await
        }
    }
}

impl SignalSender {
    /// Gives it back where no console is there any more.
    pub(crate) fn send(&self, signal: Signal) -> Result<(), Signal> {
        if self.0.is_closed() {
            return Err(signal);
        }
        self.0.send_modify(|waiting| {
            // Above that the console has more to do than one signal could ask for.
            if waiting.len() < WAITING {
                waiting.push_back(signal);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_signal_is_taken_once_and_in_order() {
        let (sender, mut signals) = Signals::channel();
        let mut other = signals.clone();
        sender.send(Signal::Interrupt).unwrap();
        sender.send(Signal::Terminate).unwrap();
        other.any().await;
        assert_eq!(signals.next().await, Signal::Interrupt);
        assert_eq!(other.next().await, Signal::Terminate);
        assert!(sender.0.borrow().is_empty());
        for _ in 0..100 {
            sender.send(Signal::HangUp).unwrap();
        }
        assert_eq!(sender.0.borrow().len(), WAITING);
    }

    #[test]
    fn a_signal_comes_back_where_nobody_listens() {
        let (sender, signals) = Signals::channel();
        let other = signals.clone();
        drop(signals);
        assert_eq!(sender.send(Signal::Terminate), Ok(()));
        drop(other);
        assert_eq!(sender.send(Signal::Terminate), Err(Signal::Terminate));
    }
}
