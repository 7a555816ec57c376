//! The client program of a worker of the same name, of which one argument's type has changed and
//! one method is missing.

use dp_core::distributed_worker;

#[derive(Default)]
struct Subject;

#[distributed_worker(server = dp_tests::State)]
impl Subject {
    #[remote]
    fn greet(&mut self, number: u32) -> u32 {
        number
    }
}

fn main() -> anyhow::Result<()> {
    dp_client::main(|_info| Subject)
}
