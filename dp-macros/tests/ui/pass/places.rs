//! Blocks in functions, in macros, several in one module, and on types of odd forms.
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all
)]
#![allow(clippy::items_after_statements)]

use dp_core::distributed_worker;

mod elsewhere {
    #[derive(Debug)]
    pub(crate) struct Named;
}

#[distributed_worker]
impl elsewhere::Named {
    #[remote]
    pub(crate) fn get_it(&self) -> u8 {
        1
    }
}

macro_rules! worker {
    ($name:ident, $method:ident, $argument:ident: $type:ty, $result:ty) => {
        struct $name;

        #[distributed_worker]
        impl $name {
            #[remote]
            fn $method(&mut self, $argument: $type, inner: &str) -> $result {
                let _ = ($argument, inner);
                Default::default()
            }

            #[schedule]
            async fn run(&self) {
                let _ = self.$method(Default::default(), "inner").await;
            }
        }
    };
}

worker!(First, method, argument: Vec<u8>, u8);
worker!(Second, call, inner2: Option<Vec<u8>>, Vec<Option<u8>>);

#[derive(Debug)]
struct Concrete<T>(T);

#[distributed_worker]
impl Concrete<u8> {
    #[remote]
    fn value(&self) -> u8 {
        self.0
    }
}

#[derive(Debug)]
enum Either {
    Left,
    Right,
}

#[distributed_worker]
impl Either {
    #[remote]
    fn is_left(&self) -> bool {
        matches!(self, Self::Left)
    }

    #[schedule]
    fn run(&self) {
        let _ = [Self::Left, Self::Right];
    }
}

fn main() {
    struct Local;

    #[distributed_worker]
    impl Local {
        #[remote]
        fn local(&self) {}

        #[schedule]
        async fn run(&self) {
            let _ = self.local().await;
        }
    }

    let _ = dp_core::MasterWorker::<Local>::in_process(1, |_info| Local).len();
    let _ = (First, Second, Concrete(1), elsewhere::Named);
    let contract = <Concrete<u8> as dp_core::DistributedWorker>::contract();
    assert_eq!(contract.worker, "Concrete<u8>");
}
