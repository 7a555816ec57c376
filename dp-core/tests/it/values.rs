//! Values arrive as they were, or there is an error that says why not; and whatever the code of a
//! type does on the way, it costs the one call.

use std::collections::{BTreeMap, HashMap, HashSet};

use dp_core::{CallError, Executed, MasterWorker, ResultLine, WorkerInfo};
use dp_core::{Context, distributed_worker};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value as Json, json};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    ids: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Size {
    #[serde(skip_deserializing)]
    #[allow(dead_code)]
    Local,
    Small(u8),
    Large(u8),
}

/// What its own code panics in: 1 in `Deserialize`, 2 in `Serialize`, 3 in `Debug`.
#[derive(PartialEq)]
pub struct Bomb(u8);

impl Serialize for Bomb {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.0, 2, "no bombs are written");
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bomb = u8::deserialize(from)?;
        assert_ne!(bomb, 1, "no bombs are read");
        Ok(Self(bomb))
    }
}

impl std::fmt::Debug for Bomb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        assert_ne!(self.0, 3, "no bombs are shown");
        write!(f, "Bomb({})", self.0)
    }
}

pub struct Store;

#[distributed_worker(server = Store)]
impl Values {
    #[remote]
    fn step(&self, step: Step) -> usize {
        step.ids.len()
    }
    #[remote]
    fn steps(&self, steps: &[Step]) -> usize {
        steps.len()
    }
    #[remote]
    fn size(&self, large: bool) -> Size {
        if large { Size::Large(1) } else { Size::Small(1) }
    }
    #[remote]
    fn set(&self) -> HashSet<u32> {
        (0..20).collect()
    }
    #[remote]
    fn table(&self) -> HashMap<String, HashSet<u32>> {
        (0..20).map(|n| (n.to_string(), (0..n).collect())).collect()
    }
    #[remote]
    fn number(&self, ctx: &Context<Self>, odd: f64) -> f64 {
        if ctx.worker().index() == 2 { odd } else { f64::NAN }
    }
    #[remote]
    fn grid(&self, grid: BTreeMap<(u8, u8), u128>) -> BTreeMap<(u8, u8), u128> {
        grid
    }
    #[remote]
    fn take(&mut self, _bomb: Bomb) -> u64 {
        self.taken += 1;
        self.taken
    }
    #[remote]
    fn give(&self, ctx: &Context<Self>, bomb: u8) -> Bomb {
        Bomb(if ctx.worker().index() == 0 { bomb } else { 0 })
    }
    #[remote]
    async fn to_server(&self, ctx: &Context<Self>, bomb: u8) -> Result<(), CallError> {
        ctx.server().keep(Bomb(bomb)).await
    }
    #[remote]
    async fn answer_of_server(&self, ctx: &Context<Self>, bomb: u8) -> Result<(), CallError> {
        ctx.server().lend(bomb).await.map(drop)
    }
    #[remote]
    fn fail_on(&self, ctx: &Context<Self>, n: u64, bad: u64) -> Result<u64, String> {
        ctx.result(n.to_string());
        if n == bad { Err("odd".to_owned()) } else { Ok(n * n) }
    }
    #[on_server]
    fn keep(_store: &Store, _bomb: Bomb) {}
    #[on_server]
    fn lend(_store: &Store, bomb: u8) -> Bomb {
        Bomb(bomb)
    }
}

#[derive(Default)]
pub struct Values {
    taken: u64,
}

fn three() -> MasterWorker<Values> {
    MasterWorker::<Values>::in_process_with(Store, 3, |_: &WorkerInfo| Values::default())
}

#[tokio::test]
async fn arguments_and_answers_that_would_arrive_as_others_are_refused() {
    let master = three();
    let step = Step { name: None, ids: vec![2] };
    let steps = [step.clone()];
    for error in
        [master.step(step.clone()).await.unwrap_err(), master.steps(&steps).await.unwrap_err()]
    {
        let text = error.to_string();
        assert!(
            text.contains("`name` of `Step`") && text.contains("skip_serializing_if"),
            "{text}"
        );
        assert!(error.failures().all(|(_, error)| error.executed() == Executed::No), "{text}");
    }
    let named = Step { name: Some("a".to_owned()), ids: vec![2] };
    assert_eq!(master.step(named).await.unwrap().into_values(), [1, 1, 1]);
    for large in [true, false, true] {
        let text = master.size(large).await.unwrap_err().to_string();
        assert!(text.contains("`Size`") && text.contains("skip_deserializing"), "{text}");
    }
}

#[tokio::test]
async fn equal_values_fold_in_whatever_order_they_print() {
    let master = three();
    for text in [
        master.set().await.unwrap().to_string(),
        master.table().await.unwrap().to_string(),
        master.set().outcomes().await.to_string(),
    ] {
        assert!(text.starts_with("w[1-3] → {") && text.lines().count() == 1, "{text}");
    }
    for method in ["set", "table"] {
        let values = master.call_json(method, vec![]).unwrap().await.unwrap().into_values();
        assert!(values.iter().all(|value| *value == values[0]));
    }
}

#[tokio::test]
async fn the_majority_may_be_nan() {
    let replies = three().number(1.0).await.unwrap();
    assert!(replies.majority().unwrap().is_nan());
    let differing: Vec<_> = replies.differing().into_iter().map(|(w, v)| (w.index(), *v)).collect();
    assert_eq!(differing, [(2, 1.0)]);
    assert!(three().number(f64::NAN).await.unwrap().differing().is_empty());
}

#[tokio::test]
async fn json_calls_take_and_show_what_json_has_no_form_of() {
    let master = three();
    let grid = json!({"[1,2]": u128::MAX.to_string(), "[2,1]": 7});
    let call = |json: Json| master.call_json("grid", vec![json]).unwrap();
    assert_eq!(call(grid.clone()).await.unwrap().into_values(), vec![grid; 3]);
    let numbers = master.call_json("number", vec![json!("-Infinity")]).unwrap().await.unwrap();
    assert_eq!(numbers.into_values(), [json!("NaN"), json!("NaN"), json!("-Infinity")]);
}

#[tokio::test]
async fn an_error_has_the_values_of_json_calls_and_of_gathered_results() {
    let master = three();
    let arguments = vec![json!(3), json!(4)];
    let calls = master.call_json("give", vec![json!(1)]).unwrap();
    let outcomes = calls.await.unwrap_err().outcomes::<Json>();
    let values: Vec<_> = outcomes.successes().map(|(w, v)| (w.index(), v.clone())).collect();
    assert_eq!(values, [(1, json!(0)), (2, json!(0))]);
    // As what they are decoded as anywhere else, too.
    master.call_json("fail_on", arguments).unwrap().await.unwrap();
    let error = master.gather_results().quorum(4).await.unwrap_err();
    let outcomes = error.outcomes::<Vec<ResultLine>>();
    assert!(outcomes.iter().all(|o| matches!(&o.result, Err(CallError::NotSent { .. }))));
}

#[tokio::test]
async fn a_panic_of_a_types_own_code_costs_the_one_call() {
    let master = three();
    assert_eq!(master.take(Bomb(0)).await.unwrap().into_values(), [1, 1, 1]);
    for (bomb, text) in [(1, "no bombs are read"), (2, "no bombs are written")] {
        let error = master.take(Bomb(bomb)).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert!(error.failures().all(|(_, error)| error.executed() == Executed::No), "{error}");
        let error = master.give(bomb).await.unwrap_err();
        assert!(error.to_string().contains(text) && error.failures().count() == 1, "{error}");
        let error = master.call_json("give", vec![json!(bomb)]).unwrap().await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        let refused = master.call_json("take", vec![json!(bomb)]);
        match bomb {
            1 => assert!(refused.unwrap_err().to_string().contains(text)),
            _ => assert!(refused.unwrap().await.unwrap_err().to_string().contains(text)),
        }
        let error = master.to_server(bomb).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        let error = master.answer_of_server(bomb).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert!(master.give(bomb).quorum(3).await.is_err());
    }
    // The worker was not built anew: the method was not called.
    assert_eq!(master.take(Bomb(0)).await.unwrap().into_values(), [2, 2, 2]);
    let text = master.give(3).await.unwrap().to_string();
    assert!(text.contains("w1 → (can't be shown") && text.contains("w[2-3] → Bomb(0)"), "{text}");
}

#[tokio::test]
async fn a_map_of_which_an_item_failed_has_the_others() {
    let master = three();
    let error = master.map(0..6, |worker, n| worker.fail_on(n, 4)).await.unwrap_err();
    assert_eq!(error.to_string().lines().count(), 1);
    let values: Vec<_> =
        error.outcomes().into_iter().filter_map(|outcome| outcome.result.ok()).collect();
    assert_eq!(values, [0, 1, 4, 9, 25]);
    let failed = &error.outcomes()[4];
    assert!(failed.worker.is_some() && matches!(failed.result, Err(CallError::Failed { .. })));
    assert_eq!((error.items, error.failures.len()), (6, 1));
    fn is_an_error<T: std::error::Error + Send + Sync + 'static>(_: &T) {}
    is_an_error(&error);
    let bombs = master.map([1, 0], |worker, bomb| worker.give(bomb)).await;
    // The first worker alone gives it back.
    if let Err(error) = bombs {
        assert!(error.to_string().contains("no bombs are read"), "{error}");
    }
}
