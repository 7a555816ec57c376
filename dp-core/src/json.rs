//! Methods called with JSON: what a console, or a form, has instead of types.

use std::fmt;

use bytes::Bytes;
use serde_json::Value as Json;
use thiserror::Error;

use crate::__private::{Argument, Arguments, Value};
use crate::codec::Encoded;
use crate::error::CallError;
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
            serde_json::to_value(value).map_err(|error| CallError::Decode {
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
        let value: T = serde_json::from_value(value)
            .map_err(|error| format!("argument {} (`{name}`) does not fit: {error}", self.taken))?;
        arguments.value(&value);
        Ok(())
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
