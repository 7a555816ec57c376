//! The server: workers join it, and `/run` at its console runs them all.

fn main() -> anyhow::Result<()> {
    dp_server::main::<{{crate_name}}::Job>()
}
