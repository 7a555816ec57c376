//! Every form of argument and result, and names that the generated code uses itself.
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all
)]

use std::collections::HashMap;

use dp_core::distributed_worker;

/// The only place for types that take part in nothing.
#[derive(Debug)]
pub struct Worker;

type Alias = Result<u8, String>;

#[distributed_worker]
impl Worker {
    #[remote]
    fn forms(
        &self,
        owned: String,
        text: &str,
        block: &[u8],
        slice: &[String],
        lent: &HashMap<u8, String>,
    ) -> u64 {
        let lengths = [
            owned.len(),
            text.len(),
            block.len(),
            slice.len(),
            lent.len(),
        ];
        lengths.iter().map(|length| *length as u64).sum()
    }

    #[remote]
    fn named<'a, 'b>(&'a self, text: &'b str, other: &'a [u8; 4]) -> usize
    where
        'b: 'a,
    {
        text.len() + other.len()
    }

    #[remote]
    #[allow(clippy::too_many_arguments)]
    async fn clashes(
        &mut self,
        self_: u8,
        arguments: u8,
        call: u8,
        worker: u8,
        method: u8,
        context: u8,
        argument0: u8,
    ) -> u8 {
        self_ + arguments + call + worker + method + context + argument0
    }

    #[remote]
    fn unused(&self, mut changed: u8, _: u8, _: &str, _ignored: u8) -> u8 {
        changed += 1;
        changed
    }

    #[remote]
    fn r#match(&self, r#type: u8) -> (u8,) {
        (r#type,)
    }

    #[remote]
    fn io(&self) -> std::io::Result<()> {
        Ok(())
    }

    #[remote]
    fn fmt_result(&self) -> std::fmt::Result {
        Ok(())
    }

    #[remote(typed_error)]
    fn typed(&self) -> Result<u8, String> {
        Ok(1)
    }

    #[remote]
    fn alias(&self) -> Alias {
        Ok(1)
    }

    #[remote]
    #[allow(clippy::needless_arbitrary_self_type)]
    fn boxed(self: &Self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

fn is<T>(_: T) {}

/// Every form of argument arrives as it was sent.
#[tokio::main(flavor = "current_thread")]
async fn call_them() {
    let master = dp_core::MasterWorker::<Worker>::in_process(1, |_info| Worker);
    let one = &master.workers()[0];
    let map = HashMap::from([(1, String::new()), (2, String::new())]);
    let items = [String::new(), String::from("b"), String::from("c")];
    let sum = one.forms("owned!".to_owned(), "text", &[0; 5], &items, &map).await.unwrap();
    assert_eq!(sum, 6 + 4 + 5 + 3 + 2);
    assert_eq!(one.named("text", &[0; 4]).await.unwrap(), 8);
    assert_eq!(one.clashes(1, 2, 3, 4, 5, 6, 7).await.unwrap(), 28);
    assert_eq!(one.unused(1, 2, "", 3).await.unwrap(), 2);
    assert_eq!(one.r#match(1).await.unwrap(), (1,));
    assert_eq!(one.typed().await.unwrap(), Ok(1));
    assert_eq!(one.alias().await.unwrap(), Ok(1));
    one.io().await.unwrap();
    one.boxed().await.unwrap();
}

/// Their types are these.
pub fn types(one: &dp_core::RemoteWorker<Worker>) {
    let text = String::from("text");
    is::<dp_core::Call<u64>>(one.forms(text.clone(), &text, b"block", &[], &HashMap::new()));
    is::<dp_core::Call<usize>>(one.named(&text, &[0; 4]));
    is::<dp_core::Call<u8>>(one.clashes(1, 2, 3, 4, 5, 6, 7));
    is::<dp_core::Call<u8>>(one.unused(1, 2, &text, 3));
    is::<dp_core::Call<(u8,)>>(one.r#match(1));
    is::<dp_core::Call<()>>(one.io());
    is::<dp_core::Call<()>>(one.fmt_result());
    is::<dp_core::Call<Result<u8, String>>>(one.typed());
    is::<dp_core::Call<Alias>>(one.alias());
    is::<dp_core::Call<()>>(one.boxed());
}

fn main() {
    call_them();
    let contract = <Worker as dp_core::DistributedWorker>::contract();
    let signature = |at: usize| contract.methods[at].signature;
    assert_eq!(
        signature(0),
        "forms(owned: String, text: &str, block: &[u8], slice: &[String], lent: &HashMap<u8, String>) -> u64"
    );
    assert_eq!(signature(1), "named(text: &str, other: &[u8; 4]) -> usize");
    assert_eq!(
        signature(3),
        "unused(changed: u8, _: u8, _: &str, _ignored: u8) -> u8"
    );
    assert_eq!(signature(4), "match(type: u8) -> (u8,)");
    assert_eq!(contract.methods[4].name, "match");
    assert_eq!(contract.methods[7].types, "() -> Result<u8, String> typed");
}
