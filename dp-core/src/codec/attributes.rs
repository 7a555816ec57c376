//! What serde's attributes do to a value: it arrives as it was, or there is an error that says which
//! type, which field or variant, and which attribute.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;

use bytes::Bytes;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Decoder, decode, encode, encode_value};

/// The value as it arrives, between two others.
fn travel<T: Serialize + DeserializeOwned + 'static>(value: T) -> Result<T, String> {
    let mut buffer = Vec::new();
    encode_value(&0xa5_a5_u16, &mut buffer)?;
    encode_value(&value, &mut buffer)?;
    encode_value(&"behind".to_owned(), &mut buffer)?;
    let mut decoder = Decoder::new(buffer.into());
    assert_eq!(decoder.value::<u16>().unwrap(), 0xa5_a5);
    let value = decoder.value()?;
    assert_eq!(decoder.value::<String>()?, "behind");
    decoder.end().map(|()| value)
}

/// It arrives, in the bytes that bincode gives it.
fn arrives<T: Serialize + DeserializeOwned + Clone + PartialEq + Debug + 'static>(value: T) {
    assert_eq!(travel(value.clone()).unwrap(), value);
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    encode_value(&value, &mut ours).unwrap();
    encode(&value, &mut plain).unwrap();
    assert_eq!(ours, plain);
}

/// It is refused, in these words among others.
fn refused<T: Serialize + DeserializeOwned + Debug + 'static>(value: T, words: &[&str]) {
    for _ in 0..2 {
        let mut buffer = Vec::new();
        let error = encode_value(&value, &mut buffer).unwrap_err();
        for word in words {
            assert!(error.contains(word), "no {word} in: {error}");
        }
        assert!(error.contains("as text") && !error.contains("::fault"), "{error}");
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Step {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    ids: Vec<u8>,
}

#[test]
fn a_field_that_is_left_out_is_named() {
    let words = ["`name` of `Step`", "skip_serializing_if"];
    refused(Step { name: None, ids: vec![2] }, &words);
    refused(vec![Some(Step { name: None, ids: vec![] })], &words);
    refused(HashMap::from([(1_u8, Step { name: None, ids: vec![] })]), &words);
    arrives(Step { name: Some("a".to_owned()), ids: vec![2] });
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Line {
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            points: Vec<u8>,
            width: u8,
        },
    }
    refused(Shape::Line { points: vec![], width: 1 }, &["`points` of `Shape::Line`"]);
    arrives(Shape::Line { points: vec![1], width: 1 });
}

#[test]
fn a_field_that_only_one_side_has_is_named() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Unread {
        a: u8,
        #[serde(skip_deserializing)]
        b: u8,
        c: u8,
    }
    refused(Unread { a: 1, b: 2, c: 3 }, &["`b` of `Unread`", "skip_deserializing"]);
    #[derive(Debug, Serialize, Deserialize)]
    #[allow(dead_code)]
    struct Unwritten {
        a: u8,
        #[serde(skip_serializing, default)]
        b: u8,
    }
    refused(Unwritten { a: 1, b: 2 }, &["`b` of `Unwritten`", "skip_serializing"]);
    refused((vec![Unwritten { a: 1, b: 2 }], 7_u8), &["`b` of `Unwritten`"]);
    #[derive(Debug, Serialize, Deserialize)]
    #[allow(dead_code)]
    struct Shifted {
        #[serde(skip_serializing, default)]
        a: u8,
        b: u8,
        #[serde(skip_deserializing)]
        c: u8,
    }
    refused(Shifted { a: 1, b: 2, c: 3 }, &["`c` of `Shifted`"]);
    #[derive(Debug, Serialize, Deserialize)]
    #[allow(dead_code)]
    struct Empty {
        #[serde(skip_serializing, default)]
        a: u8,
    }
    refused(vec![Empty { a: 1 }], &["`a` of `Empty`"]);
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Tuple(
        u8,
        #[serde(default, skip_serializing_if = "Option::is_none")] Option<u8>,
        #[serde(default, skip_serializing_if = "Option::is_none")] Option<u8>,
    );
    arrives(Tuple(1, Some(2), Some(3)));
    refused(Tuple(1, None, Some(3)), &["`Tuple`", "skip_serializing_if"]);
    refused(Tuple(1, Some(3), None), &["`Tuple`"]);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum V {
    #[serde(skip_deserializing)]
    Local,
    Small(u8),
    Large(u8),
}

#[test]
fn a_variant_that_is_not_read_is_named() {
    let words = ["`V`", "skip_deserializing"];
    refused(V::Small(1), &words);
    refused(V::Large(1), &words);
    refused(V::Local, &["`Local` of `V`"]);
    refused(vec![(1, V::Small(1)), (2, V::Large(1))], &words);
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Last {
        #[serde(alias = "a", alias = "z")]
        First,
        Second {
            x: u8,
        },
        #[serde(skip)]
        #[allow(dead_code)]
        Local,
    }
    arrives(vec![Last::First, Last::Second { x: 1 }]);
    #[derive(Debug, Serialize, Deserialize)]
    enum First {
        #[serde(skip)]
        #[allow(dead_code)]
        Local,
        A,
        B,
    }
    refused(vec![First::A, First::B], &["`First`"]);
}

#[test]
fn what_asks_for_what_is_there_is_refused_with_the_reason() {
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u8),
        Pair { a: u8 },
    }
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        A { a: u8 },
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Flat {
        a: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    }
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "kind", content = "value")]
    enum Adjacent {
        Unit,
        One(u8),
    }
    refused(vec![Adjacent::One(1)], &["`Adjacent`", "tag = "]);
    refused(Adjacent::Unit, &["`Adjacent`"]);
    let flat = Flat { a: 1, rest: BTreeMap::from([("b".to_owned(), 2)]) };
    refused(flat, &["`Flat`", "flatten"]);
    refused(Untagged::Pair { a: 1 }, &["`Untagged`", "untagged"]);
    refused(Some(Tagged::A { a: 1 }), &["`Option<Tagged>`", "tag = "]);
    for error in
        [travel(Untagged::Number(1)).unwrap_err(), travel(vec![Untagged::Number(1)]).unwrap_err()]
    {
        assert!(error.contains("Untagged`") && error.contains("untagged"), "{error}");
    }
    assert!(travel(serde_json::json!(1)).unwrap_err().contains("serde_json::Value"));
}

#[test]
fn functions_that_disagree_are_found() {
    fn text<S: serde::Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Id(#[serde(serialize_with = "text")] u64);
    refused(Id(12), &["`Id`", "serialize_with"]);
    #[derive(Debug, Serialize, Deserialize)]
    struct Held {
        #[serde(serialize_with = "text")]
        id: u64,
        name: String,
    }
    refused(Held { id: 12, name: "x".to_owned() }, &["`Held`"]);
}

#[test]
fn attributes_that_change_nothing_on_the_way_are_welcome() {
    #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    struct Named {
        #[serde(alias = "zz", alias = "aa")]
        first_name: String,
        #[serde(rename = "LAST")]
        last_name: String,
        #[serde(skip)]
        local: u8,
        id: u32,
    }
    let (first_name, last_name) = ("a".to_owned(), "b".to_owned());
    arrives(Named { first_name, last_name, local: 0, id: 7 });
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(transparent)]
    struct Wrapped(u8);
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(from = "(f64, f64)", into = "(f64, f64)")]
    struct Point {
        x: f64,
        y: f64,
    }
    impl From<(f64, f64)> for Point {
        fn from((x, y): (f64, f64)) -> Self {
            Self { x, y }
        }
    }
    impl From<Point> for (f64, f64) {
        fn from(point: Point) -> Self {
            (point.x, point.y)
        }
    }
    arrives((Wrapped(1), Point { x: 1.0, y: f64::INFINITY }, 'x'));
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Generic<T> {
        value: T,
        #[serde(with = "serde_bytes")]
        block: Vec<u8>,
    }
    arrives(Generic { value: Some(Ok::<u8, String>(1)), block: vec![1, 2] });
    arrives(Generic { value: Err::<u8, String>("no".to_owned()), block: vec![] });
    arrives(std::net::IpAddr::from([127, 0, 0, 1]));
    arrives((std::time::Duration::from_millis(1), 1..5_u8, std::path::PathBuf::from("/a")));
    arrives(((), [1_u16; 3], Box::new(V2::B), u128::MAX, i128::MIN));
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum V2 {
    A(u8, String),
    B,
    C { x: Option<Box<V2>>, y: Vec<V2> },
}

#[test]
fn the_order_of_a_map_is_no_other_value() {
    super::check_round_trips();
    for size in [0, 1, 2, 20, 300_u16] {
        let map: HashMap<u16, V2> = (0..size).map(|n| (n, V2::A(n as u8, n.to_string()))).collect();
        assert_eq!(travel(map.clone()).unwrap(), map);
        let set: HashSet<V2> = map.into_values().collect();
        assert_eq!(travel(set.clone()).unwrap(), set);
    }
}

#[test]
fn a_sequence_of_unknown_length_is_counted() {
    struct Unknown(Vec<u16>);
    impl Serialize for Unknown {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.collect_seq(self.0.iter().filter(|n| **n != 3))
        }
    }
    impl<'de> Deserialize<'de> for Unknown {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            Vec::deserialize(from).map(Self)
        }
    }
    assert_eq!(travel(Unknown((1..300).collect())).unwrap().0.len(), 298);
}

#[test]
fn a_value_of_another_shape_is_an_error_in_words() {
    let mut bytes = Vec::new();
    encode_value(&vec![1_u64, 2, 3], &mut bytes).unwrap();
    assert_eq!(decode::<u64>(bytes.clone().into()).unwrap_err(), "3 bytes too many");
    let error = decode::<Vec<String>>(bytes.into()).unwrap_err();
    assert!(error.starts_with("the bytes end too early"), "{error}");
    assert!(decode::<bool>(Bytes::from_static(&[2])).unwrap_err().contains("here is 2"));
    assert!(decode::<String>(Bytes::from_static(&[1, 255])).unwrap_err().contains("UTF-8"));
}

fn any_v2() -> impl Strategy<Value = V2> {
    let leaf = prop_oneof![Just(V2::B), (any::<u8>(), ".*").prop_map(|(n, text)| V2::A(n, text))];
    leaf.prop_recursive(4, 32, 4, |inner| {
        (prop::option::of(inner.clone()), prop::collection::vec(inner, 0..4))
            .prop_map(|(x, y)| V2::C { x: x.map(Box::new), y })
    })
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_as_it_was(
        value in any_v2(),
        numbers in any::<(u8, i8, u16, i16, u32, i32, u64, i64, u128, i128)>(),
        (float, truth, letter, text) in any::<(f64, bool, char, Option<String>)>(),
        map in prop::collection::hash_map(any::<u16>(), any_v2(), 0..6),
    ) {
        arrives(value.clone());
        arrives(numbers);
        arrives((float.to_bits(), truth, letter, text));
        prop_assert_eq!(travel((map.clone(), value.clone())).unwrap(), (map, value));
    }

    #[test]
    fn whatever_bytes_come_are_read_as_bincode_reads_them(
        bytes in prop::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..60),
    ) {
        type Any = (Option<V2>, Vec<(u8, String)>, Result<i64, bool>);
        let mut plain = Decoder::new(bytes.clone().into());
        let mut ours = Decoder::new(bytes.into());
        match plain.take::<Any>() {
            Ok(value) => {
                prop_assert_eq!(ours.value::<Any>().unwrap(), value);
                prop_assert_eq!(ours.rest(), plain.rest());
            }
            Err(_) => prop_assert!(ours.value::<Any>().is_err()),
        }
    }
}
