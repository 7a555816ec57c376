//! What the server asks of a client before it takes it in.

use std::collections::{HashMap, HashSet};

use crate::id::{InvalidId, WorkerId};
use crate::text::PeerText;
use crate::wire::{Hello, MethodPrint};
use crate::worker::{Contract, Method};

/// A method as it goes into the handshake.
pub(crate) fn prints(methods: &[Method]) -> Vec<MethodPrint> {
    let print = |method: &Method| MethodPrint {
        name: method.name.to_owned(),
        signature: method.signature.to_owned(),
        fingerprint: method.fingerprint(),
    };
    methods.iter().map(print).collect()
}

/// Compares the client's contract with the server's. `Err` names the first things that differ, for
/// both sides, and says how many more there are.
pub(crate) fn compare(ours: &Contract, theirs: &Hello) -> Result<(), String> {
    if ours.worker != theirs.worker {
        return Err(format!(
            "its worker is `{}`, the server's is `{}`: start the client program of the same worker",
            printable(&theirs.worker),
            ours.worker
        ));
    }
    let mut differences = Differences::default();
    differing(&ours.methods, &theirs.methods, &mut differences);
    differing(&ours.server_methods, &theirs.server_methods, &mut differences);
    match differences.in_words() {
        None => Ok(()),
        Some(words) => {
            Err(format!("{words}: build server and client from the same version of the worker"))
        }
    }
}

/// So many differences are named; the others are counted.
const MAX_DIFFERENCES: usize = 8;

/// What differs.
#[derive(Debug, Default)]
struct Differences {
    first: Vec<String>,
    count: usize,
}

impl Differences {
    fn add(&mut self, in_words: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < MAX_DIFFERENCES {
            self.first.push(in_words());
        }
    }

    fn in_words(self) -> Option<String> {
        let more = self.count - self.first.len();
        let named = self.first.join("; ");
        match (self.count, more) {
            (0, _) => None,
            (_, 0) => Some(named),
            (_, more) => Some(format!("{named}; and {more} more differences")),
        }
    }
}

fn differing(ours: &[Method], theirs: &[MethodPrint], differences: &mut Differences) {
    let before = differences.count;
    let mut by_name: HashMap<&str, &MethodPrint> = HashMap::new();
    for other in theirs {
        by_name.entry(&other.name).or_insert(other);
    }
    for method in ours {
        match by_name.get(method.name) {
            None => {
                differences.add(|| format!("method `{}` is missing in the client", method.name));
            }
            Some(other) if other.fingerprint != method.fingerprint() => differences.add(|| {
                format!(
                    "method `{}` differs: the server has `{}`{}, the client `{}`",
                    method.name,
                    method.signature,
                    if method.signature == other.signature {
                        " (other receiver or error)"
                    } else {
                        ""
                    },
                    printable(&other.signature)
                )
            }),
            Some(_) => {}
        }
    }
    let known: HashSet<&str> = ours.iter().map(|method| method.name).collect();
    for other in theirs.iter().filter(|other| !known.contains(other.name.as_str())) {
        differences.add(|| format!("method `{}` is missing in the server", printable(&other.name)));
    }
    // A method is known by its number on the wire, so the order counts too.
    let same_order = || ours.iter().zip(theirs).all(|(a, b)| a.name == b.name);
    if differences.count == before && (ours.len() != theirs.len() || !same_order()) {
        differences.add(|| "the methods stand in another order".to_owned());
    }
}

/// A name or a signature that a peer says it has.
pub(crate) fn printable(text: &str) -> PeerText {
    PeerText::within(text, 200)
}

/// The ids of the workers of a client.
pub(crate) fn worker_ids(hello: &Hello) -> Result<Vec<WorkerId>, InvalidId> {
    WorkerId::new(hello.client.clone())?;
    if hello.prefix.is_empty() {
        return Ok(vec![WorkerId::new(hello.client.clone())?]);
    }
    (1..=hello.workers).map(|number| WorkerId::new(format!("{}{number}", hello.prefix))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::JsonForm;

    fn method(name: &'static str, types: &'static str) -> Method {
        let json = JsonForm::new::<()>(|_, _| Ok(()));
        Method { name, signature: types, types, docs: "", exclusive: false, json }
    }

    fn contract(methods: Vec<Method>) -> Contract {
        Contract { worker: "Greeter".into(), version: "1", methods, server_methods: Vec::new() }
    }

    fn hello(contract: &Contract) -> Hello {
        Hello {
            worker: contract.worker.clone(),
            version: String::new(),
            methods: prints(&contract.methods),
            server_methods: prints(&contract.server_methods),
            client: "c1".into(),
            incarnation: 0,
            prefix: "c1/".into(),
            workers: 3,
            max_message: 1,
        }
    }

    #[test]
    fn the_same_contract_is_welcome() {
        let ours = contract(vec![method("greet", "(&str)")]);
        assert_eq!(compare(&ours, &hello(&ours)), Ok(()));
    }

    #[test]
    fn every_differing_method_is_named() {
        let ours = contract(vec![method("a", "(u8)"), method("b", "()"), method("c", "()")]);
        let theirs = contract(vec![method("a", "(u16)"), method("b", "()"), method("d", "()")]);
        let error = compare(&ours, &hello(&theirs)).unwrap_err();
        assert_eq!(
            error,
            "method `a` differs: the server has `(u8)`, the client `(u16)`; \
             method `c` is missing in the client; method `d` is missing in the server: \
             build server and client from the same version of the worker"
        );
    }

    #[test]
    fn of_many_differences_the_first_are_named_and_the_others_counted() {
        let ours = contract(vec![method("a", "()")]);
        let mut theirs = hello(&ours);
        let none = MethodPrint { name: String::new(), signature: String::new(), fingerprint: 0 };
        theirs.methods.extend(vec![none; 4_000]);
        let error = compare(&ours, &theirs).unwrap_err();
        assert!(error.contains("; and 3992 more differences: build"), "{error}");
        assert!(error.len() < 1_000, "{error}");
    }

    #[test]
    fn another_order_or_another_worker_is_refused() {
        let ours = contract(vec![method("a", "()"), method("b", "()")]);
        let swapped = contract(vec![method("b", "()"), method("a", "()")]);
        assert!(compare(&ours, &hello(&swapped)).unwrap_err().contains("another order"));
        let mut other = hello(&ours);
        other.worker = "Sorter".into();
        assert!(compare(&ours, &other).unwrap_err().contains("`Sorter`"));
    }

    #[test]
    fn workers_are_numbered_behind_the_prefix() {
        let mut hello = hello(&contract(Vec::new()));
        let ids = |hello: &Hello| -> Vec<String> {
            worker_ids(hello).unwrap().iter().map(ToString::to_string).collect()
        };
        assert_eq!(ids(&hello), ["c1/1", "c1/2", "c1/3"]);
        hello.prefix.clear();
        assert_eq!(ids(&hello), ["c1"]);
        hello.client = "c 1".into();
        assert!(worker_ids(&hello).is_err());
    }
}
