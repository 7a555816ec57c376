//! A worker that is private to its module leaves no warning, whatever is unused.
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all
)]

mod hidden {
    use dp_core::distributed_worker;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Secret(u8);

    struct Hidden;

    #[distributed_worker]
    impl Hidden {
        #[remote]
        pub(crate) fn reveal(&self, secret: Secret) -> Secret {
            Secret(secret.0 + 1)
        }

        #[remote]
        #[deprecated = "use `reveal`"]
        fn old(&self) {}

        #[schedule]
        pub(crate) fn run(&self) {}
    }

    struct State;

    struct Asking;

    #[distributed_worker(server = State)]
    impl Asking {
        #[remote]
        fn ask(&self) {}

        #[on_server]
        fn answer(_state: &State) -> u8 {
            42
        }
    }

    pub(crate) fn use_them() {
        let _ = (Hidden, State, Asking);
    }
}

struct AtTheRoot;

#[dp_core::distributed_worker]
impl AtTheRoot {
    #[remote]
    pub(crate) fn undocumented(&self) {}

    #[schedule]
    pub(crate) fn run(&self) {}
}

fn main() {
    hidden::use_them();
    let _ = AtTheRoot;
}
