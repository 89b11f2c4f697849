//! Canonical JSON straight from a value, without a tree in between.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::Range;

use serde::ser::{self, Serialize};

use super::name::Name;
use super::write_scalar;

/// A value that has no canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no canonical JSON: {0}")]
pub struct NotCanonical(pub(super) String);

impl ser::Error for NotCanonical {
    fn custom<T: Display>(why: T) -> Self {
        Self(why.to_string())
    }
}

/// Where a member of an object stands in its text: `"name":value`, without commas around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberPlace {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its bytes.
    pub text: Range<usize>,
}

/// Writes values to the end of `out`.
pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// Gets the places of the value's own members, if it is an object.
    places: Option<&'o mut Vec<MemberPlace>>,
}

impl<'o> Writer<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, places: None }
    }

    pub(super) fn telling(out: &'o mut Vec<u8>, places: &'o mut Vec<MemberPlace>) -> Self {
        Self {
            out,
            places: Some(places),
        }
    }
}

impl Writer<'_> {
    fn scalar(self, value: &(impl Serialize + ?Sized)) -> Result<(), NotCanonical> {
        write_scalar(value, self.out);
        Ok(())
    }
}

impl<'o> Writer<'o> {
    /// The one member of an object that says which variant its value is of.
    fn variant(self, name: &str) -> Writer<'o> {
        self.out.push(b'{');
        write_scalar(name, self.out);
        self.out.push(b':');
        self
    }

    fn items(self, closing: &'static [u8]) -> Items<'o> {
        self.out.push(b'[');
        Items {
            out: self.out,
            is_first: true,
            closing,
        }
    }

    fn members(self, count: usize, closing: &'static [u8]) -> Members<'o> {
        self.out.push(b'{');
        Members {
            begin: self.out.len(),
            out: self.out,
            places: self.places,
            members: Vec::with_capacity(count),
            key: None,
            closing,
        }
    }
}

macro_rules! scalars {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<(), NotCanonical> {
            self.scalar(&value)
        })*
    };
}

impl<'o> ser::Serializer for Writer<'o> {
    type Ok = ();
    type Error = NotCanonical;
    type SerializeSeq = Items<'o>;
    type SerializeTuple = Items<'o>;
    type SerializeTupleStruct = Items<'o>;
    type SerializeTupleVariant = Items<'o>;
    type SerializeMap = Members<'o>;
    type SerializeStruct = Members<'o>;
    type SerializeStructVariant = Members<'o>;

    scalars!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64, serialize_char: char, serialize_str: &str
    );

    fn serialize_f32(self, _: f32) -> Result<(), NotCanonical> {
        Err(NotCanonical(FLOAT.to_owned()))
    }

    fn serialize_f64(self, _: f64) -> Result<(), NotCanonical> {
        Err(NotCanonical(FLOAT.to_owned()))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), NotCanonical> {
        self.scalar(bytes)
    }

    fn serialize_none(self) -> Result<(), NotCanonical> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotCanonical> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), NotCanonical> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), NotCanonical> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), NotCanonical> {
        self.scalar(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), NotCanonical> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), NotCanonical> {
        let Writer { out, .. } = self.variant(variant);
        value.serialize(Writer::new(out))?;
        out.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'o>, NotCanonical> {
        Ok(self.items(b"]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Items<'o>, NotCanonical> {
        Ok(self.items(b"]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items<'o>, NotCanonical> {
        Ok(self.items(b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Items<'o>, NotCanonical> {
        Ok(self.variant(variant).items(b"]}"))
    }

    fn serialize_map(self, count: Option<usize>) -> Result<Members<'o>, NotCanonical> {
        Ok(self.members(count.unwrap_or_default(), b"}"))
    }

    fn serialize_struct(self, _: &'static str, count: usize) -> Result<Members<'o>, NotCanonical> {
        Ok(self.members(count, b"}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Members<'o>, NotCanonical> {
        Ok(self.variant(variant).members(count, b"}}"))
    }
}

/// A list under way.
pub(super) struct Items<'o> {
    out: &'o mut Vec<u8>,
    is_first: bool,
    closing: &'static [u8],
}

impl Items<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotCanonical> {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        value.serialize(Writer::new(self.out))
    }

    fn close(self) -> Result<(), NotCanonical> {
        self.out.extend_from_slice(self.closing);
        Ok(())
    }
}

macro_rules! list {
    ($($trait:ident::$method:ident),*) => {
        $(impl ser::$trait for Items<'_> {
            type Ok = ();
            type Error = NotCanonical;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotCanonical> {
                self.item(value)
            }
            fn end(self) -> Result<(), NotCanonical> {
                self.close()
            }
        })*
    };
}

list!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

/// An object under way: its members as they come. If they did not come sorted, they are put into
/// their order at its end.
pub(super) struct Members<'o> {
    out: &'o mut Vec<u8>,
    /// Where the first one begins in `out`.
    begin: usize,
    places: Option<&'o mut Vec<MemberPlace>>,
    members: Vec<MemberPlace>,
    /// The name of the member whose value comes next.
    key: Option<Cow<'static, str>>,
    closing: &'static [u8],
}

impl Members<'_> {
    fn member<T: Serialize + ?Sized>(
        &mut self,
        name: Cow<'static, str>,
        value: &T,
    ) -> Result<(), NotCanonical> {
        if !self.members.is_empty() {
            self.out.push(b',');
        }
        let begin = self.out.len();
        write_scalar(&*name, self.out);
        self.out.push(b':');
        value.serialize(Writer::new(self.out))?;
        let text = begin..self.out.len();
        self.members.push(MemberPlace { name, text });
        Ok(())
    }

    fn close(mut self) -> Result<(), NotCanonical> {
        if !self.members.is_sorted_by(|a, b| a.name < b.name) {
            self.sort()?;
        }
        self.out.extend_from_slice(self.closing);
        if let Some(places) = self.places {
            *places = self.members;
        }
        Ok(())
    }

    fn sort(&mut self) -> Result<(), NotCanonical> {
        self.members.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = self.members.windows(2).find(|pair| same_name(pair)) {
            let name = pair.first().map(|member| &*member.name);
            return Err(NotCanonical(format!("member {name:?} twice")));
        }
        let unsorted = self.out.split_off(self.begin);
        for (n, MemberPlace { text, .. }) in self.members.iter_mut().enumerate() {
            if n > 0 {
                self.out.push(b',');
            }
            let written = unsorted.get(text.start - self.begin..text.end - self.begin);
            let begin = self.out.len();
            self.out.extend_from_slice(written.unwrap_or_default());
            *text = begin..self.out.len();
        }
        Ok(())
    }
}

fn same_name(pair: &[MemberPlace]) -> bool {
    matches!(pair, [a, b] if a.name == b.name)
}

impl ser::SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = NotCanonical;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), NotCanonical> {
        self.member(Cow::Borrowed(name), value)
    }
    fn end(self) -> Result<(), NotCanonical> {
        self.close()
    }
}

impl ser::SerializeStructVariant for Members<'_> {
    type Ok = ();
    type Error = NotCanonical;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), NotCanonical> {
        self.member(Cow::Borrowed(name), value)
    }
    fn end(self) -> Result<(), NotCanonical> {
        self.close()
    }
}

impl ser::SerializeMap for Members<'_> {
    type Ok = ();
    type Error = NotCanonical;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotCanonical> {
        self.key = Some(key.serialize(Name)?);
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotCanonical> {
        let name = self.key.take();
        let name = name.ok_or_else(|| NotCanonical("a value without a name".to_owned()))?;
        self.member(name, value)
    }
    fn end(self) -> Result<(), NotCanonical> {
        self.close()
    }
}

const FLOAT: &str = "a floating-point number";
