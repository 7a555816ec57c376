//! Bytes → serde's values, as bincode reads them. What it would not say in words is said here; and
//! beside the shape of what was written it is found out where that is read as something else.

use std::any::type_name;

use serde::Deserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::fault::{Fault, joined, named};
use super::shape::{Leaf, Replay};
use super::{Config, Take, take, take_borrowed};

/// Where values are read from.
pub(super) struct Source<'de, C: Config> {
    take: Take<'de, C>,
    /// The shape of what was written, where that is known.
    pub(super) replay: Option<Replay>,
}

/// Reads one value.
struct Reader<'s, 'de, C: Config> {
    from: &'s mut Source<'de, C>,
    /// The type of the value, or of what it is in.
    ty: &'static str,
    /// The enum and the variant that were met last.
    variant: [&'static str; 2],
}

impl<'de, C: Config> Source<'de, C> {
    pub(super) fn new(take: Take<'de, C>, replay: Option<Replay>) -> Self {
        Self { take, replay }
    }

    /// Reads a value.
    pub(super) fn read<T: DeserializeOwned>(&mut self) -> Result<T, Fault> {
        T::deserialize(Reader { from: self, ty: type_name::<T>(), variant: [""; 2] })
    }

    pub(super) fn left(&mut self) -> usize {
        super::left(&mut self.take)
    }

    fn leaf(&mut self, leaf: Leaf) {
        if let Some(replay) = &mut self.replay {
            replay.leaf(leaf);
        }
    }

    /// How many elements, or entries, there are.
    fn items(&mut self, leaf: Leaf) -> Result<usize, Fault> {
        let count: usize = take(&mut self.take)?;
        if let Some(replay) = &mut self.replay {
            replay.items(leaf, count);
        }
        Ok(count)
    }

    /// It can't be right.
    fn wrong(&mut self, fault: Fault) -> Fault {
        if let Some(replay) = &mut self.replay {
            replay.fault.get_or_insert_with(|| fault.0.clone());
        }
        fault
    }
}

impl<'s, 'de, C: Config> Reader<'s, 'de, C> {
    fn any(self) -> Fault {
        self.from.wrong(Fault::any(self.ty))
    }

    /// Reads at most `most` fields, of these names if they have any.
    fn group<V: Visitor<'de>>(
        self,
        name: [&'static str; 2],
        names: &'static [&'static str],
        most: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let written = self.from.replay.as_mut().and_then(Replay::group);
        if let Some((_, fields)) = &written
            && !names.is_empty()
            && let Some(field) = fields.iter().find(|field| !names.contains(field))
        {
            let fault = Fault::not_read(&format!("field `{field}`"), &joined(name));
            return Err(self.from.wrong(fault));
        }
        let from = self.from;
        let mut items = Items { from, ty: self.ty, left: most, taken: 0, group: None };
        let Some((count, fields)) = written else { return visitor.visit_seq(&mut items) };
        items.group = Some(Group { name, count, names, fields });
        let value = visitor.visit_seq(&mut items)?;
        match items.taken {
            taken if taken < count => {
                let fault = Fault::not_read("a field", &joined(name));
                Err(items.from.wrong(fault))
            }
            _ => Ok(value),
        }
    }
}

macro_rules! leaves {
    ($($method:ident $visit:ident $type:ty => $leaf:ident,)*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.from.leaf(Leaf::$leaf);
            visitor.$visit(take::<$type, C>(&mut self.from.take)?)
        }
    )* };
}

macro_rules! borrowed {
    ($($method:ident $visit:ident $type:ty,)*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.from.leaf(Leaf::Bytes);
            visitor.$visit(take_borrowed::<$type, C>(&mut self.from.take)?)
        }
    )* };
}

impl<'de, C: Config> Deserializer<'de> for Reader<'_, 'de, C> {
    type Error = Fault;

    leaves! {
        deserialize_bool visit_bool bool => Bool,
        deserialize_i8 visit_i8 i8 => I8,
        deserialize_i16 visit_i16 i16 => Signed,
        deserialize_i32 visit_i32 i32 => Signed,
        deserialize_i64 visit_i64 i64 => Signed,
        deserialize_i128 visit_i128 i128 => Signed,
        deserialize_u8 visit_u8 u8 => U8,
        deserialize_u16 visit_u16 u16 => Unsigned,
        deserialize_u32 visit_u32 u32 => Unsigned,
        deserialize_u64 visit_u64 u64 => Unsigned,
        deserialize_u128 visit_u128 u128 => Unsigned,
        deserialize_f32 visit_f32 f32 => F32,
        deserialize_f64 visit_f64 f64 => F64,
        deserialize_char visit_char char => Char,
        deserialize_string visit_string String => Bytes,
        deserialize_byte_buf visit_byte_buf Vec<u8> => Bytes,
    }

    borrowed! {
        deserialize_str visit_borrowed_str &'de str,
        deserialize_bytes visit_borrowed_bytes &'de [u8],
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(self.any())
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(self.any())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(self.any())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.from.leaf(Leaf::Option);
        match take::<u8, C>(&mut self.from.take)? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            other => Err(Fault(format!("an option begins with 0 or 1, and here is {other}"))),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let left = self.from.items(Leaf::Seq)?;
        visitor.visit_seq(&mut Items { from: self.from, ty: self.ty, left, taken: 0, group: None })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.group(["", "tuple"], &[], len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.group(["", name], &[], len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let left = self.from.items(Leaf::Map)?;
        visitor.visit_map(Items { from: self.from, ty: self.ty, left, taken: 0, group: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.group(["", name], fields, fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let index: u32 = take(&mut self.from.take)?;
        let mut variant = [name, variants.get(index as usize).copied().unwrap_or("?")];
        if let Some(replay) = &mut self.from.replay
            && let Some(written) = replay.variant(index)
        {
            if !variants.contains(&written) {
                return Err(self.from.wrong(Fault::variant(written, name)));
            }
            // Aliases are among the names, so that one more place alone does not tell anything.
            if variant[1] != written {
                replay.suspect.get_or_insert((written, name));
            }
            variant[1] = written;
        }
        visitor.visit_enum(Variant { index, reader: Reader { variant, ..self } })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Elements, entries or fields, one after another.
struct Items<'s, 'de, C: Config> {
    from: &'s mut Source<'de, C>,
    ty: &'static str,
    left: usize,
    taken: usize,
    group: Option<Group>,
}

/// Fields as they were written.
struct Group {
    name: [&'static str; 2],
    count: usize,
    /// The names that are read, and that were written.
    names: &'static [&'static str],
    fields: Vec<&'static str>,
}

impl<'de, C: Config> Items<'_, 'de, C> {
    fn item<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(Reader {
            from: self.from,
            ty: named(type_name::<T::Value>(), self.ty),
            variant: [""; 2],
        })
    }
}

impl<'de, C: Config> SeqAccess<'de> for &mut Items<'_, 'de, C> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        if let Some(Group { name, count, names, fields }) = &self.group
            && self.taken == *count
        {
            let missing = names.iter().find(|name| !fields.contains(name));
            let field =
                missing.map_or_else(|| "a field".to_owned(), |name| format!("field `{name}`"));
            return Err(self.from.wrong(Fault::not_written(&field, &joined(*name))));
        }
        self.left -= 1;
        self.taken += 1;
        self.item(seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de, C: Config> MapAccess<'de> for Items<'_, 'de, C> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.item(seed).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        self.item(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// An enum's variant, its number already read.
struct Variant<'s, 'de, C: Config> {
    index: u32,
    reader: Reader<'s, 'de, C>,
}

impl<'s, 'de, C: Config> EnumAccess<'de> for Variant<'s, 'de, C> {
    type Error = Fault;
    type Variant = Reader<'s, 'de, C>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Fault> {
        Ok((seed.deserialize(self.index.into_deserializer())?, self.reader))
    }
}

impl<'de, C: Config> VariantAccess<'de> for Reader<'_, 'de, C> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(Reader { ty: named(type_name::<T::Value>(), self.ty), ..self })
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        let name = self.variant;
        self.group(name, &[], len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let name = self.variant;
        self.group(name, fields, fields.len(), visitor)
    }
}
