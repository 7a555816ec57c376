//! serde's values → JSON, also those that JSON has no form of.

use std::any::type_name;
use std::collections::BTreeMap;

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::{Error, Map, Value as Json};

/// The value as JSON: integers that JSON can't hold, NaN and infinity as text, keys that are no text
/// as the text of their JSON, the elements of a hash set sorted.
pub(super) fn show<T: Serialize + ?Sized>(value: &T) -> Result<Json, Error> {
    value.serialize(Show(type_name::<T>()))
}

/// With the type of the value, or of what it is in.
struct Show(&'static str);

/// Elements, or the fields of a tuple.
struct Elements {
    elements: Vec<Json>,
    sorts: bool,
    variant: Option<&'static str>,
}

/// Fields by name.
struct Fields {
    fields: Map<String, Json>,
    variant: Option<&'static str>,
}

#[derive(Default)]
struct Entries {
    entries: BTreeMap<String, Json>,
    key: Option<String>,
}

fn of_variant(variant: Option<&'static str>, content: Json) -> Json {
    match variant {
        Some(variant) => Json::Object(Map::from_iter([(variant.to_owned(), content)])),
        None => content,
    }
}

/// Whether it is a set whose order means nothing, or something around one.
fn is_hash_set(ty: &str) -> bool {
    const AROUND: [&str; 8] = ["Option", "Box", "Rc", "Arc", "Mutex", "RwLock", "Cow", "RefCell"];
    let ty = ty.trim_start_matches('&');
    let Some((head, inner)) = ty.split_once('<') else { return false };
    match head.rsplit("::").next() {
        Some(name) if AROUND.contains(&name) => is_hash_set(inner),
        Some(name) => name.ends_with("HashSet"),
        None => false,
    }
}

fn float(value: f64) -> Json {
    if value.is_nan() {
        return "NaN".into();
    }
    let infinite = if value > 0.0 { "Infinity" } else { "-Infinity" };
    serde_json::Number::from_f64(value).map_or_else(|| infinite.into(), Json::Number)
}

macro_rules! plain {
    ($($method:ident $type:ty,)*) => { $(
        fn $method(self, value: $type) -> Result<Json, Error> {
            Ok(value.into())
        }
    )* };
}

impl Serializer for Show {
    type Ok = Json;
    type Error = Error;
    type SerializeSeq = Elements;
    type SerializeTuple = Elements;
    type SerializeTupleStruct = Elements;
    type SerializeTupleVariant = Elements;
    type SerializeMap = Entries;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Fields;

    plain! {
        serialize_bool bool,
        serialize_i8 i8,
        serialize_i16 i16,
        serialize_i32 i32,
        serialize_i64 i64,
        serialize_u8 u8,
        serialize_u16 u16,
        serialize_u32 u32,
        serialize_u64 u64,
        serialize_str &str,
        serialize_bytes &[u8],
    }

    fn serialize_i128(self, value: i128) -> Result<Json, Error> {
        Ok(i64::try_from(value).map_or_else(|_| value.to_string().into(), Json::from))
    }

    fn serialize_u128(self, value: u128) -> Result<Json, Error> {
        Ok(u64::try_from(value).map_or_else(|_| value.to_string().into(), Json::from))
    }

    fn serialize_f32(self, value: f32) -> Result<Json, Error> {
        // The shortest that is this `f32`, and not what it is as an `f64`.
        Ok(float(value.to_string().parse().unwrap_or(f64::from(value))))
    }

    fn serialize_f64(self, value: f64) -> Result<Json, Error> {
        Ok(float(value))
    }

    fn serialize_char(self, value: char) -> Result<Json, Error> {
        Ok(value.to_string().into())
    }

    fn serialize_none(self) -> Result<Json, Error> {
        Ok(Json::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Json, Error> {
        show(value)
    }

    fn serialize_unit(self) -> Result<Json, Error> {
        Ok(Json::Null)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Json, Error> {
        Ok(Json::Null)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<Json, Error> {
        Ok(variant.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<Json, Error> {
        show(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Json, Error> {
        Ok(of_variant(Some(variant), show(value)?))
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Elements, Error> {
        Ok(Elements { elements: Vec::new(), sorts: is_hash_set(self.0), variant: None })
    }

    fn serialize_tuple(self, _len: usize) -> Result<Elements, Error> {
        Ok(Elements { elements: Vec::new(), sorts: false, variant: None })
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Elements, Error> {
        Ok(Elements { elements: Vec::new(), sorts: false, variant: None })
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Elements, Error> {
        Ok(Elements { elements: Vec::new(), sorts: false, variant: Some(variant) })
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Entries, Error> {
        Ok(Entries::default())
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Fields, Error> {
        Ok(Fields { fields: Map::new(), variant: None })
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Fields, Error> {
        Ok(Fields { fields: Map::new(), variant: Some(variant) })
    }
}

macro_rules! elements {
    ($($of:ident $method:ident,)*) => { $(
        impl $of for Elements {
            type Ok = Json;
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.elements.push(show(value)?);
                Ok(())
            }

            fn end(mut self) -> Result<Json, Error> {
                if self.sorts {
                    self.elements.sort_by_cached_key(|element| {
                        (element.as_f64().map(f64::to_bits), element.to_string())
                    });
                }
                Ok(of_variant(self.variant, self.elements.into()))
            }
        }
    )* };
}

elements! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

macro_rules! fields {
    ($($of:ident)*) => { $(
        impl $of for Fields {
            type Ok = Json;
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.fields.insert(key.to_owned(), show(value)?);
                Ok(())
            }

            fn end(self) -> Result<Json, Error> {
                Ok(of_variant(self.variant, self.fields.into()))
            }
        }
    )* };
}

fields! { SerializeStruct SerializeStructVariant }

impl SerializeMap for Entries {
    type Ok = Json;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key = Some(match show(key)? {
            Json::String(text) => text,
            other => other.to_string(),
        });
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let key = self.key.take().unwrap_or_default();
        if self.entries.contains_key(&key) {
            return Err(Error::custom(format!("two keys of a map read `{key}`")));
        }
        self.entries.insert(key, show(value)?);
        Ok(())
    }

    fn end(self) -> Result<Json, Error> {
        Ok(Json::Object(self.entries.into_iter().collect()))
    }
}
