//! The client, started on each machine: hosts workers, and does what the server says.

use {{crate_name}}::Job;

fn main() -> anyhow::Result<()> {
    dp_client::main(|_info| Job::default())
}
