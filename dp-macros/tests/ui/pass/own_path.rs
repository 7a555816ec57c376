//! A type of the user's that is named like one of the standard library without a size.

use dp_core::{MasterWorker, distributed_worker};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct Path {
    points: Vec<(i32, i32)>,
}

pub struct Plotter;

#[distributed_worker]
impl Plotter {
    #[remote]
    pub fn plot(&self, path: &Path) -> usize {
        path.points.len()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let master = MasterWorker::<Plotter>::in_process(1, |_info| Plotter);
    let path = Path { points: vec![(1, 2), (3, 4)] };
    assert_eq!(master.plot(&path).await.unwrap().into_values(), [2]);
}
