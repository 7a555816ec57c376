//! Methods called with JSON: what a console, or a form, has instead of types.

mod show;
mod take;

use std::fmt;

use bytes::Bytes;
use serde_json::Value as Json;
use thiserror::Error;

use crate::__private::{Argument, Arguments, Value};
use crate::codec::Encoded;
use crate::error::{CallError, caught};
use crate::id::WorkerInfo;
use crate::outcome::{DecodeAnswer, decode_answer};

/// How a method is called with JSON; made by generated code.
#[derive(Clone, Copy)]
pub struct JsonForm {
    encode: EncodeJson,
    answer: DecodeAnswer<Json>,
}

type EncodeJson = fn(&mut JsonArguments, &mut Arguments) -> Result<(), String>;

/// Why a method can't be called with these arguments.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JsonCallError {
    /// There is no such method.
    #[error("there is no method `{method}`; there are: {}", .known.join(", "))]
    NoSuchMethod {
        /// What was asked for.
        method: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// The arguments are not those of its signature.
    #[error("{reason}; the method is {signature}")]
    Arguments {
        /// The method's signature.
        signature: &'static str,
        /// What is wrong with them.
        reason: String,
    },
}

/// JSON values, to be taken one after another as arguments.
#[derive(Debug)]
pub struct JsonArguments {
    values: std::vec::IntoIter<Json>,
    given: usize,
    taken: usize,
}

impl JsonForm {
    /// The form of a method that returns `T`, whose arguments `encode` takes.
    pub fn new<T: Value>(encode: EncodeJson) -> Self {
        let answer = |worker: &WorkerInfo, answer: Bytes| {
            let value: T = decode_answer(worker, answer)?;
            // Dropped in here, too: both are the user's code.
            let shown = caught(move || show::show(&value).map_err(|error| error.to_string()));
            let panicked = |text: String| format!("its `Serialize` or its `Drop` panicked: {text}");
            shown.unwrap_or_else(|text| Err(panicked(text))).map_err(|error| CallError::Decode {
                what: crate::Decoded::Answer,
                message: format!("it can't be shown as JSON: {error}"),
            })
        };
        Self { encode, answer }
    }

    pub(crate) fn answer(&self) -> DecodeAnswer<Json> {
        self.answer
    }

    /// Encodes the arguments; `Err` says what is wrong with them.
    pub(crate) fn encode(&self, values: Vec<Json>) -> Result<Result<Encoded, CallError>, String> {
        let mut json = JsonArguments { given: values.len(), taken: 0, values: values.into_iter() };
        let mut wrong = Ok(());
        let encoded = Arguments::encode(|arguments| {
            wrong = (self.encode)(&mut json, arguments).and_then(|()| json.end());
        });
        wrong.map(|()| encoded)
    }
}

impl JsonArguments {
    /// Takes the argument `name`, and adds it to `arguments`.
    ///
    /// # Errors
    /// When there is none left, or it is of another type.
    pub fn argument<T: Argument>(
        &mut self,
        name: &str,
        arguments: &mut Arguments,
    ) -> Result<(), String> {
        self.taken += 1;
        let Some(value) = self.values.next() else {
            return Err(format!("argument {} (`{name}`) is missing", self.taken));
        };
        let taken = caught(|| {
            let value: T = take::take(value).map_err(|error| error.to_string())?;
            arguments.value(&value);
            Ok(())
        });
        taken
            .unwrap_or_else(|text| Err(format!("its `Deserialize` or its `Drop` panicked: {text}")))
            .map_err(|error| format!("argument {} (`{name}`) does not fit: {error}", self.taken))
    }

    /// Takes the next argument, which is sent as a slice.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn slice<T: Argument>(
        &mut self,
        name: &str,
        arguments: &mut Arguments,
    ) -> Result<(), String> {
        self.argument::<Vec<T>>(name, arguments)
    }

    fn end(&mut self) -> Result<(), String> {
        match self.given.saturating_sub(self.taken) {
            0 => Ok(()),
            _ => Err(format!("{} arguments were given, and it takes {}", self.given, self.taken)),
        }
    }
}

impl fmt::Debug for JsonForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonForm")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form() -> JsonForm {
        JsonForm::new::<u8>(|json, arguments| {
            json.argument::<String>("name", arguments)?;
            json.argument::<u8>("times", arguments)
        })
    }

    #[test]
    fn arguments_are_encoded_as_their_types_are() {
        let encoded = form().encode(vec![json!("Ada"), json!(7)]).unwrap().unwrap();
        assert_eq!(encoded.into_bytes(), &b"\x03Ada\x07"[..]);
    }

    fn comes_back<T>(value: T, json: Json)
    where
        T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + fmt::Debug,
    {
        assert_eq!(show::show(&value).unwrap(), json);
        assert_eq!(take::take::<T>(json).unwrap(), value);
    }

    #[test]
    fn what_json_has_no_form_of_is_text_and_comes_back() {
        use std::collections::{BTreeMap, HashMap, HashSet};
        comes_back(u128::MAX, json!("340282366920938463463374607431768211455"));
        comes_back(i128::MIN, json!("-170141183460469231731687303715884105728"));
        comes_back((7_u128, -7_i128, 0.1_f32), json!([7, -7, 0.1]));
        comes_back((f64::INFINITY, f32::NEG_INFINITY, ()), json!(["Infinity", "-Infinity", null]));
        assert_eq!(show::show(&[f64::NAN]).unwrap(), json!(["NaN"]));
        assert!(take::take::<f64>(json!("NaN")).unwrap().is_nan());
        assert!(take::take::<f64>(json!("1")).is_err() && take::take::<u8>(json!("1")).is_err());
        comes_back(BTreeMap::from([((1, "a".to_owned()), 2)]), json!({"[1,\"a\"]": 2}));
        comes_back(
            HashMap::from([(Some(1), true), (None, false)]),
            json!({"1": true, "null": false}),
        );
        comes_back(HashMap::from([(u128::MAX, 'x')]), json!({u128::MAX.to_string(): "x"}));
        comes_back(BTreeMap::from([(Ok::<u8, bool>(1), 2)]), json!({"{\"Ok\":1}": 2}));
        for _ in 0..9 {
            let set: HashSet<u32> = (0..20).collect();
            let numbers: Vec<u32> = (0..20).collect();
            comes_back((Some(set), vec![3, 1, 2]), json!([numbers, [3, 1, 2]]));
        }
        let error = take::take::<BTreeMap<(u8, u8), u8>>(json!({"1,2": 3})).unwrap_err();
        assert!(error.to_string().contains("JSON in a text"), "{error}");
    }

    #[test]
    fn what_json_has_a_form_of_is_as_serde_json_gives_it() {
        use serde::{Deserialize, Serialize};
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum Any {
            Unit,
            One(Option<i8>),
            Two(u8, String),
            Fields { a: bool, b: Vec<u8> },
        }
        let all = vec![
            Any::Unit,
            Any::One(None),
            Any::One(Some(-1)),
            Any::Two(1, "x".to_owned()),
            Any::Fields { a: true, b: vec![1] },
        ];
        let json = serde_json::to_value(&all).unwrap();
        comes_back(all, json);
        for wrong in
            [json!("None"), json!({"Unit": 1}), json!("One"), json!({"Two": [1]}), json!(1)]
        {
            assert!(take::take::<Any>(wrong.clone()).is_err(), "{wrong}");
        }
        assert!(take::take::<(u8, u8)>(json!([1, 2, 3])).is_err());
    }

    #[test]
    fn a_panic_of_the_types_own_code_is_an_error() {
        use serde::{Deserialize, Serialize};
        #[derive(Serialize)]
        struct Bomb(bool);
        impl<'de> Deserialize<'de> for Bomb {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                assert!(!bool::deserialize(from)?, "a bomb");
                Ok(Self(false))
            }
        }
        impl Drop for Bomb {
            fn drop(&mut self) {
                std::panic::panic_any(Dropped);
            }
        }
        struct Dropped;
        impl Drop for Dropped {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        let form =
            JsonForm::new::<Bomb>(|json, arguments| json.argument::<Bomb>("bomb", arguments));
        let error = form.encode(vec![json!(true)]).unwrap_err();
        assert!(error.contains("(`bomb`)") && error.contains("panicked: a bomb"), "{error}");
        assert!(form.encode(vec![json!(false)]).unwrap_err().contains("`Drop` panicked"));
        let id = crate::WorkerId::new("w1").unwrap();
        let worker = WorkerInfo::new(id, 0, "w".into(), "here".into());
        for (answer, text) in [(1, "panicked: a bomb"), (0, "`Drop` panicked")] {
            let error = form.answer()(&worker, vec![answer].into()).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let wrong = |values| form().encode(values).unwrap_err();
        assert_eq!(wrong(vec![json!("Ada")]), "argument 2 (`times`) is missing");
        assert!(wrong(vec![json!(1), json!(2)]).starts_with("argument 1 (`name`) does not fit: "));
        assert!(wrong(vec![json!("Ada"), json!(256)]).contains("256"));
        let three = wrong(vec![json!("Ada"), json!(1), json!(2)]);
        assert_eq!(three, "3 arguments were given, and it takes 2");
    }
}
