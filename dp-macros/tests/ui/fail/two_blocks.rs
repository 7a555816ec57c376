use dp_core::{MasterWorker, distributed_worker};

pub struct Worker;

#[distributed_worker]
impl Worker {
    #[remote]
    pub fn first(&self) {}
}

#[distributed_worker]
impl Worker {
    #[remote]
    pub fn second(&self, argument: u8) -> u8 {
        argument
    }

    #[schedule]
    pub async fn both(&self) {
        let _ = self.first().await;
        let _ = self.second(1).await;
    }
}

async fn uses(master: &MasterWorker<Worker>) {
    master.both().await;
    let _ = master.first().await;
}

/// Another type of the same name.
mod other {
    use dp_core::distributed_worker;

    pub struct Worker;

    #[distributed_worker]
    impl Worker {
        #[remote]
        pub fn first(&self) {}
    }
}

fn main() {
    let _ = uses;
}
