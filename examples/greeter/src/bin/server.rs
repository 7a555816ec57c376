//! The server of the greeters: they join it, and `/run` at its console runs them all.

fn main() -> anyhow::Result<()> {
    dp_server::main::<greeter::Greeter>()
}
