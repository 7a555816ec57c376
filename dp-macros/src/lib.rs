//! The `#[distributed_worker]` attribute of `dp-core`, which re-exports it.
//!
//! This crate is an implementation detail: what it generates calls a hidden half of `dp-core` of
//! exactly the same version. Depend on `dp-core`.

mod args;
mod check;
mod errors;
mod expand;
mod model;
mod self_type;
mod text;
mod twice;

use proc_macro::TokenStream;

/// Makes the type of one inherent impl block a distributed worker.
///
/// ```
/// use dp_core::{Context, MasterWorker, distributed_worker};
///
/// #[derive(Default)]
/// pub struct Greeter {
///     greeted: u64,
/// }
///
/// #[distributed_worker]
/// impl Greeter {
///     /// Greets `name` on the machine that this worker lives on.
///     #[remote]
///     pub async fn greet(&mut self, ctx: &Context<Self>, name: &str) -> String {
///         self.greeted += 1;
///         ctx.result(format!("greeted {name}"));
///         format!("{}: hello {name}", ctx.worker().id())
///     }
///
///     #[remote]
///     pub fn greeted(&self) -> u64 {
///         self.greeted
///     }
///
///     /// What `/run` runs, on the master.
///     #[schedule]
///     pub async fn run(&self) -> anyhow::Result<()> {
///         // Every worker, the same argument.
///         self.greet("Ada").await?;
///         // An argument of its own for each.
///         self.each(|worker| worker.greet(&format!("number {}", worker.info().index()))).await?;
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let master = MasterWorker::<Greeter>::in_process(3, |_info| Greeter::default());
/// master.run().await?;
/// assert_eq!(master.greeted().await?.into_values(), [2, 2, 2]);
/// # Ok(())
/// # }
/// ```
///
/// # What it emits
///
/// | item | what it is |
/// | --- | --- |
/// | the block | as it was written, less the attributes and the schedules: the local implementation, to be called and tested as plain Rust |
/// | `GreeterRemoteWorker`, also `dp_core::RemoteWorker<Greeter>` | the stub for one worker: each `#[remote]` method with its name, docs, visibility and arguments, returning `Call<T>` |
/// | `GreeterMasterWorker`, also `dp_core::MasterWorker<Greeter>` | the broadcaster over a group of workers: each `#[remote]` method returning `Broadcast<T>`, and each `#[schedule]` method as it was written. It dereferences to `Group<Greeter>` |
/// | `GreeterServer` | where there are `#[on_server]` functions: what `ctx.server()` gives |
/// | `impl DistributedWorker for Greeter` | what the library needs to know |
///
/// The broadcaster also gets `in_process(workers, constructor)`, a group of workers without a network,
/// or `in_process_with(state, workers, constructor)` where the server has state.
///
/// # `#[remote]`
///
/// A method that is called over the network.
///
/// - It takes `&self` or `&mut self`, and may be async. A `&mut self` call runs alone on its worker;
///   `&self` calls of one worker may overlap.
/// - `ctx: &Context<Self>`, under any name, may stand right after the receiver.
/// - An argument is any `T: Serialize + DeserializeOwned + Send + 'static`, or `&str`, `&[T]` or `&T`,
///   which are sent from the borrow without a clone and lent to the method on the other side.
///   `Vec<u8>`, `&[u8]` and `bytes::Bytes` travel as one block.
/// - Values travel by position, without names. Of serde's attributes `skip_serializing`,
///   `skip_serializing_if`, `skip_deserializing`, `flatten`, `tag` and `untagged` therefore can't travel,
///   nor a `rename` that differs for the two directions: such a value is an error that names the type, the
///   field or variant, the attribute and what to do, and no other value. `skip` on a field, `default`,
///   `rename`, `alias`, `with`, `from`, `into` and `transparent` travel. In
///   a process with workers made by `in_process`, every value is read back and compared.
/// - The result is such a `T`, or `Result<T, E>` with any `E: Into<Box<dyn Error + Send + Sync>>`: an
///   `Err` arrives as `CallError::Failed`, its message and its sources as text. A type counts as a
///   `Result` when its name is `Result`, as `anyhow::Result<T>` is.
/// - `#[remote(typed_error)]` returns the `Result<T, E>` itself as the value; `E` has to be serializable.
///
/// A borrowed type without a size of its own cannot be sent: take `&PathBuf` in place of `&Path`. A
/// generic method, an `impl Trait` argument and a pattern in place of an argument's name cannot be
/// `#[remote]`.
///
/// # Names
///
/// A `#[remote]` or `#[schedule]` method may have the name of a method of `Group` or `Stub`, such as
/// `get`, `map`, `len`, `info` or `workers`. On the generated types, and in schedules, that name then
/// means the worker's method. The library's is reached through `group()` and `stub()`:
///
/// ```
/// use dp_core::{MasterWorker, distributed_worker};
///
/// pub struct Store;
///
/// #[distributed_worker]
/// impl Store {
///     #[remote]
///     pub fn map(&self, key: u64) -> u64 {
///         key + 1
///     }
///
///     #[remote]
///     pub fn info(&self) -> u8 {
///         7
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let master = MasterWorker::<Store>::in_process(2, |_info| Store);
/// // The worker's, on every worker.
/// assert_eq!(master.map(1).await?.into_values(), [2, 2]);
/// // The group's.
/// assert_eq!(master.group().map([1, 2], |worker, key| worker.map(key)).await?, [2, 3]);
/// assert_eq!(master.workers()[0].stub().info().index(), 0);
/// # Ok(())
/// # }
/// ```
///
/// Where a method is named `group` or `stub`, the dereference leads to the library's: `(*master).group()`.
/// Two names are reserved, since the broadcaster has functions of these names itself: `in_process` and
/// `in_process_with`. All `#[remote]`, `#[schedule]` and `#[on_server]` functions of a type stand in
/// one block.
///
/// # `#[schedule]`
///
/// A method that runs on the master, with the broadcaster as its `self`. It takes `&self`, any
/// arguments, and may be async. It can call the remote methods, other schedules and everything that
/// `Group` has. It cannot touch the worker's fields or call its ordinary methods, for there is no worker
/// where it runs.
///
/// The schedule named `run` is what `/run` runs. Where `run` is a `#[remote]` method instead, `/run`
/// broadcasts it: every worker drives itself. A `run` that takes arguments can be called, but not by
/// `/run`, which has none to give and says so: write a `run` without arguments that calls another
/// method with them.
///
/// # `#[on_server]`
///
/// A function that workers call on their server. It has no receiver: its first parameter is the server's
/// state, then optionally the worker that calls, then arguments and a result as for `#[remote]`. The
/// type of the state is an argument of the attribute.
///
/// ```
/// use std::sync::Mutex;
///
/// use dp_core::{Context, WorkerInfo, distributed_worker};
///
/// pub struct UrlFeed {
///     urls: Mutex<Vec<String>>,
/// }
///
/// pub struct Crawler;
///
/// #[distributed_worker(server = UrlFeed)]
/// impl Crawler {
///     #[remote]
///     pub async fn run(&mut self, ctx: &Context<Self>) -> anyhow::Result<u64> {
///         let mut fetched = 0;
///         while let Some(url) = ctx.server().next_url().await? {
///             ctx.result(format!("fetched {url}"));
///             fetched += 1;
///         }
///         Ok(fetched)
///     }
///
///     #[on_server]
///     async fn next_url(feed: &UrlFeed, caller: &WorkerInfo) -> Option<String> {
///         println!("{} asks", caller.id());
///         feed.urls.lock().unwrap().pop()
///     }
/// }
/// ```
///
/// # Arguments of the attribute
///
/// - `server = State`: the type of the server's state, `Send + Sync + 'static`.
/// - `crate = my::path`: where the generated code finds `dp_core`, for a crate that renames it.
///
/// # Generics, `#[cfg]`, visibility
///
/// A worker may have type and constant parameters, but no lifetimes. The block's bounds have to say that
/// the types which are sent can be sent:
///
/// ```
/// use dp_core::distributed_worker;
/// use serde::{Serialize, de::DeserializeOwned};
///
/// pub struct Sorter<T> {
///     items: Vec<T>,
/// }
///
/// #[distributed_worker]
/// impl<T> Sorter<T>
/// where
///     T: Ord + Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
/// {
///     #[remote]
///     fn sort(&mut self, items: &[T]) -> Vec<T> {
///         self.items.extend_from_slice(items);
///         self.items.sort();
///         self.items.clone()
///     }
/// }
/// ```
///
/// `#[cfg]` on the block and on its methods is carried over to everything that is made of them. The
/// generated types are as visible as the worker, the generated methods as the methods that they call.
///
/// # The contract
///
/// A client may join a server when their workers have the same methods with the same types, as far as
/// the text of the signatures tells: names of arguments, spacing and lifetimes do not matter, the
/// spelling of a type's path does.
#[proc_macro_attribute]
pub fn distributed_worker(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::distributed_worker(arguments.into(), item.into()).into()
}
