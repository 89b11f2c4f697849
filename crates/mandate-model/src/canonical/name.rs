//! Names of members.

use std::borrow::Cow;
use std::fmt::Display;

use serde::ser::{self, Impossible, Serialize};

use super::NotCanonical;

/// Reads a member's name: text, and nothing else.
pub(super) struct Name;

type Named = Result<Cow<'static, str>, NotCanonical>;

fn no_name<T>() -> Result<T, NotCanonical> {
    Err(NotCanonical("a member's name is text".to_owned()))
}

macro_rules! no_names {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, _: $type) -> Named {
            no_name()
        })*
    };
}

impl ser::Serializer for Name {
    type Ok = Cow<'static, str>;
    type Error = NotCanonical;
    type SerializeSeq = Impossible<Self::Ok, NotCanonical>;
    type SerializeTuple = Impossible<Self::Ok, NotCanonical>;
    type SerializeTupleStruct = Impossible<Self::Ok, NotCanonical>;
    type SerializeTupleVariant = Impossible<Self::Ok, NotCanonical>;
    type SerializeMap = Impossible<Self::Ok, NotCanonical>;
    type SerializeStruct = Impossible<Self::Ok, NotCanonical>;
    type SerializeStructVariant = Impossible<Self::Ok, NotCanonical>;

    no_names!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64, serialize_f32: f32, serialize_f64: f64, serialize_bytes: &[u8]
    );

    fn serialize_str(self, name: &str) -> Named {
        Ok(Cow::Owned(name.to_owned()))
    }

    fn serialize_char(self, name: char) -> Named {
        Ok(Cow::Owned(name.to_string()))
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Named {
        Ok(Cow::Borrowed(name))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, name: &T) -> Named {
        name.serialize(self)
    }

    fn collect_str<T: Display + ?Sized>(self, name: &T) -> Named {
        Ok(Cow::Owned(name.to_string()))
    }

    fn serialize_none(self) -> Named {
        no_name()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Named {
        no_name()
    }

    fn serialize_unit(self) -> Named {
        no_name()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Named {
        no_name()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Named {
        no_name()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, NotCanonical> {
        no_name()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, NotCanonical> {
        no_name()
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, NotCanonical> {
        no_name()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, NotCanonical> {
        no_name()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, NotCanonical> {
        no_name()
    }

    fn serialize_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStruct, NotCanonical> {
        no_name()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, NotCanonical> {
        no_name()
    }
}
