//! The client program of the tests' worker.

fn main() -> anyhow::Result<()> {
    dp_client::main(|_info| dp_tests::Subject::default())
}
