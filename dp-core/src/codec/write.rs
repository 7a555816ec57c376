//! serde's values → bytes, as bincode writes them. What would be read as another value is refused, or
//! noted to be looked at.

use std::any::type_name;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::fault::{Fault, joined};
use super::known::Known;
use super::shape::{Event, Leaf};
use super::{Append, Put, put};

/// Where values are written.
pub(super) struct Target<'a> {
    pub(super) put: Put<'a>,
    pub(super) notes: Notes,
}

/// What is noted on the way.
pub(super) enum Notes {
    /// Whether a struct or an enum was met that has not been looked at yet.
    Shapes(Known),
    /// Everything.
    Trace(Vec<Event>),
}

impl<'a> Target<'a> {
    pub(super) fn new(buffer: &'a mut Vec<u8>, notes: Notes) -> Self {
        Self { put: Put::new(Append(buffer), super::ENCODE), notes }
    }

    /// Writes `value`.
    pub(super) fn write<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        value.serialize(Writer { to: self, ty: type_name::<T>() })
    }

    fn leaf(&mut self, leaf: Leaf) {
        if let Notes::Trace(events) = &mut self.notes {
            events.push(Event::Leaf(leaf));
        }
    }

    fn items(&mut self, leaf: Leaf, count: usize) {
        if let Notes::Trace(events) = &mut self.notes {
            events.push(Event::Items(leaf, count));
        }
    }

    fn group(&mut self, ty: &'static str, name: &'static str, len: usize) {
        match &mut self.notes {
            Notes::Shapes(known) => known.meet([ty, name], len),
            Notes::Trace(events) => events.push(Event::Group { name, len, fields: Vec::new() }),
        }
    }

    fn variant(&mut self, ty: &'static str, name: &'static str, index: u32, variant: &'static str) {
        match &mut self.notes {
            Notes::Shapes(known) => known.meet([ty, variant], index as usize),
            Notes::Trace(events) => events.push(Event::Variant { name, index, variant }),
        }
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        super::written(&mut self.put)
    }
}

/// Writes one value.
pub(super) struct Writer<'t, 'a> {
    to: &'t mut Target<'a>,
    /// The type of the value, or of what it is in.
    ty: &'static str,
}

/// Writes elements, entries or fields.
pub(super) struct Parts<'t, 'a> {
    to: &'t mut Target<'a>,
    /// The enum's name, of a variant, and its own.
    name: [&'static str; 2],
    /// How many were announced, and have been written.
    announced: usize,
    written: usize,
    /// Where the number is to stand, if it was not announced.
    number_at: Option<(usize, Leaf)>,
    /// Where the names of the fields are noted.
    noted_at: usize,
}

impl<'t, 'a> Writer<'t, 'a> {
    fn group(self, name: [&'static str; 2], len: usize) -> Parts<'t, 'a> {
        self.to.group(self.ty, name[1], len);
        Parts::new(self.to, name, len)
    }

    fn items(self, leaf: Leaf, len: Option<usize>) -> Result<Parts<'t, 'a>, Fault> {
        self.to.items(leaf, len.unwrap_or_default());
        match len {
            Some(len) => put(&(len as u64), &mut self.to.put)?,
            // As `#[serde(flatten)]` writes: whether it can be read is not known before it was tried.
            None => {
                if let Notes::Shapes(known) = &mut self.to.notes {
                    known.meet([self.ty, "without a number"], 0);
                }
            }
        }
        let start = self.to.buffer().len();
        let mut parts = Parts::new(self.to, ["", self.ty], len.unwrap_or_default());
        parts.number_at = len.is_none().then_some((start, leaf));
        Ok(parts)
    }
}

impl<'t, 'a> Parts<'t, 'a> {
    fn new(to: &'t mut Target<'a>, name: [&'static str; 2], announced: usize) -> Self {
        let noted_at = match &to.notes {
            Notes::Trace(events) => events.len().saturating_sub(1),
            Notes::Shapes(_) => 0,
        };
        Self { to, name, announced, written: 0, number_at: None, noted_at }
    }

    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.written += 1;
        self.to.write(value)
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Fault> {
        if let Notes::Trace(events) = &mut self.to.notes
            && let Some(Event::Group { fields, .. }) = events.get_mut(self.noted_at)
        {
            fields.push(key);
        }
        self.part(value)
    }

    fn done(self) -> Result<(), Fault> {
        let Some((start, leaf)) = self.number_at else {
            return match self.announced == self.written {
                true => Ok(()),
                false => Err(Fault::count(&joined(self.name), self.announced, self.written)),
            };
        };
        if let Notes::Trace(events) = &mut self.to.notes {
            events[self.noted_at] = Event::Items(leaf, self.written);
        }
        let mut number = Vec::new();
        put(&(self.written as u64), &mut Put::new(Append(&mut number), super::ENCODE))?;
        self.to.buffer().splice(start..start, number);
        Ok(())
    }
}

macro_rules! leaves {
    ($($method:ident $type:ty => $leaf:ident,)*) => { $(
        fn $method(self, value: $type) -> Result<(), Fault> {
            self.to.leaf(Leaf::$leaf);
            put(&value, &mut self.to.put)
        }
    )* };
}

impl<'t, 'a> Serializer for Writer<'t, 'a> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Parts<'t, 'a>;
    type SerializeTuple = Parts<'t, 'a>;
    type SerializeTupleStruct = Parts<'t, 'a>;
    type SerializeTupleVariant = Parts<'t, 'a>;
    type SerializeMap = Parts<'t, 'a>;
    type SerializeStruct = Parts<'t, 'a>;
    type SerializeStructVariant = Parts<'t, 'a>;

    leaves! {
        serialize_bool bool => Bool,
        serialize_i8 i8 => I8,
        serialize_i16 i16 => Signed,
        serialize_i32 i32 => Signed,
        serialize_i64 i64 => Signed,
        serialize_i128 i128 => Signed,
        serialize_u8 u8 => U8,
        serialize_u16 u16 => Unsigned,
        serialize_u32 u32 => Unsigned,
        serialize_u64 u64 => Unsigned,
        serialize_u128 u128 => Unsigned,
        serialize_f32 f32 => F32,
        serialize_f64 f64 => F64,
        serialize_char char => Char,
        serialize_str &str => Bytes,
        serialize_bytes &[u8] => Bytes,
    }

    fn serialize_none(self) -> Result<(), Fault> {
        self.to.leaf(Leaf::Option);
        put(&0_u8, &mut self.to.put)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        self.to.leaf(Leaf::Option);
        put(&1_u8, &mut self.to.put)?;
        self.to.write(value)
    }

    fn serialize_unit(self) -> Result<(), Fault> {
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Fault> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), Fault> {
        self.to.variant(self.ty, name, index, variant);
        put(&index, &mut self.to.put)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        // It leaves no mark, but what is in it may be written and read by different functions.
        if let Notes::Shapes(known) = &mut self.to.notes {
            known.meet([self.ty, name], usize::MAX);
        }
        self.to.write(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.to.variant(self.ty, name, index, variant);
        put(&index, &mut self.to.put)?;
        self.to.write(value)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Parts<'t, 'a>, Fault> {
        self.items(Leaf::Seq, len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Parts<'t, 'a>, Fault> {
        if let Notes::Trace(_) = self.to.notes {
            return Ok(self.group(["", "tuple"], len));
        }
        // What a tuple has is in its type.
        Ok(Parts::new(self.to, ["", "tuple"], len))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Parts<'t, 'a>, Fault> {
        Ok(self.group(["", name], len))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'t, 'a>, Fault> {
        self.to.variant(self.ty, name, index, variant);
        put(&index, &mut self.to.put)?;
        Ok(self.group([name, variant], len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Parts<'t, 'a>, Fault> {
        self.items(Leaf::Map, len)
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Parts<'t, 'a>, Fault> {
        Ok(self.group(["", name], len))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'t, 'a>, Fault> {
        self.to.variant(self.ty, name, index, variant);
        put(&index, &mut self.to.put)?;
        Ok(self.group([name, variant], len))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! parts {
    ($($of:ident $method:ident,)*) => { $(
        impl $of for Parts<'_, '_> {
            type Ok = ();
            type Error = Fault;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                self.part(value)
            }

            fn end(self) -> Result<(), Fault> {
                self.done()
            }
        }
    )* };
}

parts! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

macro_rules! fields {
    ($($of:ident)*) => { $(
        impl $of for Parts<'_, '_> {
            type Ok = ();
            type Error = Fault;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Fault> {
                self.field(key, value)
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), Fault> {
                Err(Fault::left_out(key, &joined(self.name)))
            }

            fn end(self) -> Result<(), Fault> {
                self.done()
            }
        }
    )* };
}

fields! { SerializeStruct SerializeStructVariant }

impl SerializeMap for Parts<'_, '_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        self.part(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.to.write(value)
    }

    fn end(self) -> Result<(), Fault> {
        self.done()
    }
}
