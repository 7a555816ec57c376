//! The server program of the tests' worker.

fn main() -> anyhow::Result<()> {
    dp_server::main_with::<dp_tests::Subject>(dp_tests::State::default())
}
