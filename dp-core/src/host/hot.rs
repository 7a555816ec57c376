//! The worker's hot path, once, for `.ci/instructions` to count what it takes. As a test it shows only
//! that it still works.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::slot::Pace;
use super::uplink::Uplink;
use super::{Host, Shared};
use crate::distributed_worker;
use crate::engine::Limits;
use crate::wire::{CallHead, Targets};

struct Hot;

#[distributed_worker(crate = crate)]
impl Hot {
    #[remote]
    fn length(&self, bytes: &[u8]) -> u64 {
        bytes.len() as u64
    }
}

/// From the frame's content to the answer in the queue, on this thread.
#[inline(never)]
fn hot_dispatch(host: &Arc<Shared<Hot>>, link: &Arc<Uplink>, call: u64) {
    let (timed, timeout, targets) = (false, None, Targets::All);
    let head = CallHead { call, method: 0, timed, timeout, targets };
    let mut ready = Vec::new();
    host.handle_call(link, (&head, None), Bytes::from_static(&[3, 1, 2, 3]), &mut ready);
    for slot in ready {
        slot.pump(host, link, &mut Pace::new());
    }
}

#[tokio::test]
async fn hot_path_of_the_worker() {
    let limits = Limits::default();
    let host = Host::<Hot>::new("c".to_owned(), 1, limits, Handle::current(), |_| Hot);
    let link = Arc::new(Uplink::new(0, 1 << 20));
    // The first one builds the worker.
    hot_dispatch(&host.0, &link, 1);
    let before = link.unwritten();
    hot_dispatch(&host.0, &link, 2);
    assert_eq!(link.unwritten(), 2 * before);
}
