//! A client: hosts greeters on this machine and does what the server says.

use greeter::Greeter;

fn main() -> anyhow::Result<()> {
    dp_client::main(|_info| Greeter::default())
}
