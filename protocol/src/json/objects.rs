//! A deserializer that takes a struct from an object only.
//!
//! Derived code asks for a struct and is content with a sequence as well. [`Objects`] asks the deserializer below for a map
//! in its place, and sees to it that everything inside is asked for in the same way. What serde buffers before it knows
//! the type (`untagged`, internally tagged enums) goes past it: signed types have none, as a test shows.

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use std::fmt;

/// Wraps a deserializer, a visitor, or one of serde's ways into a value.
pub(super) struct Objects<T>(pub(super) T);

/// Hands on what is asked for, with the visitor wrapped.
macro_rules! hand_on {
    ($($method:ident($($argument:ident: $type:ty),*);)+) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($argument,)* Objects(visitor))
        })+
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Objects<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Members(visitor))
    }

    hand_on! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(length: usize);
        deserialize_tuple_struct(name: &'static str, length: usize);
        deserialize_map();
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }
}

/// Hands on a plain value.
macro_rules! visit {
    ($($method:ident($type:ty);)+) => {
        $(fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        })+
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Objects<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
    visit! {
        visit_bool(bool);
        visit_i64(i64);
        visit_u64(u64);
        visit_f64(f64);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }
    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Objects(deserializer))
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Objects(deserializer))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Objects(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(members))
    }
    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Objects(variant))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Objects<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Objects(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Objects(seed))
    }
    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(Objects(seed))
    }
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Objects(seed))
    }
    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Objects<A> {
    type Error = A::Error;
    type Variant = Objects<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.0.variant_seed(Objects(seed))?;
        Ok((value, Objects(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Objects(seed))
    }
    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(length, Objects(visitor))
    }
    fn struct_variant<V: Visitor<'de>>(self, members: &'static [&'static str], visitor: V) -> Result<V::Value, A::Error> {
        // A struct variant's content may be an array below: refused by a visitor that takes members only.
        self.0.struct_variant(members, Members(visitor))
    }
}

/// A visitor that takes an object and nothing else. What else it meets is refused in JSON's words, not by the name of a Rust type.
struct Members<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Members<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(members))
    }
}

#[cfg(test)]
mod tests {
    use crate::json::{from_slice, from_value};
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its shape counts")]
    struct Inner {
        a: String,
        #[serde(default)]
        b: Option<u64>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[expect(dead_code, reason = "only its shape counts")]
    enum Kind {
        Plain,
        Wrapped(Inner),
        Members { inner: Inner },
    }

    #[derive(Debug, Deserialize)]
    #[serde(transparent)]
    #[expect(dead_code, reason = "only its shape counts")]
    struct Transparent(Inner);

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its shape counts")]
    struct Outer {
        inner: Inner,
        #[serde(default)]
        list: Vec<Inner>,
        #[serde(default)]
        map: BTreeMap<String, Inner>,
        #[serde(default)]
        option: Option<Inner>,
        #[serde(default)]
        kinds: Vec<Kind>,
        #[serde(default)]
        tuple: Option<(u64, Inner)>,
        #[serde(default)]
        transparent: Option<Transparent>,
        #[serde(default)]
        boxed: Option<Box<Inner>>,
        #[serde(default)]
        any: serde_json::Value,
    }

    /// Every way in which a struct can stand inside another type. With `serde_json::from_slice` in place of the strict one each `false` row fails.
    #[test]
    fn arrays_are_refused_wherever_a_struct_is_expected() {
        for (text, ok) in [
            (r#"{"inner":{"a":"x","b":1}}"#, true),
            (r#"["x"]"#, false),
            (r#"[{"a":"x"},[],{},null,[],null,null,null,null]"#, false),
            (r#"{"inner":["x",1]}"#, false),
            (r#"{"inner":{"a":"x"},"list":[{"a":"y"}]}"#, true),
            (r#"{"inner":{"a":"x"},"list":[["y",2]]}"#, false),
            (r#"{"inner":{"a":"x"},"map":{"k":{"a":"y"}}}"#, true),
            (r#"{"inner":{"a":"x"},"map":{"k":["y",2]}}"#, false),
            (r#"{"inner":{"a":"x"},"option":null}"#, true),
            (r#"{"inner":{"a":"x"},"option":{"a":"y"}}"#, true),
            (r#"{"inner":{"a":"x"},"option":["y",2]}"#, false),
            (r#"{"inner":{"a":"x"},"boxed":["y",2]}"#, false),
            (r#"{"inner":{"a":"x"},"transparent":{"a":"y"}}"#, true),
            (r#"{"inner":{"a":"x"},"transparent":["y",2]}"#, false),
            (r#"{"inner":{"a":"x"},"tuple":[1,{"a":"y"}]}"#, true),
            (r#"{"inner":{"a":"x"},"tuple":[1,["y",2]]}"#, false),
            (r#"{"inner":{"a":"x"},"kinds":["plain",{"wrapped":{"a":"y"}},{"members":{"inner":{"a":"z"}}}]}"#, true),
            (r#"{"inner":{"a":"x"},"kinds":[{"wrapped":["y",2]}]}"#, false),
            (r#"{"inner":{"a":"x"},"kinds":[{"members":[{"a":"z"}]}]}"#, false),
            (r#"{"inner":{"a":"x"},"kinds":[{"members":{"inner":["z",2]}}]}"#, false),
            (r#"{"inner":{"a":"x"},"any":[[1,"two",{"three":[null,true,1.5,-1]}]]}"#, true),
            (r#"{"inner":{"a":"x"}} 1"#, false),
        ] {
            let read = from_slice::<Outer>(text.as_bytes());
            assert_eq!(read.is_ok(), ok, "{text}: {read:?}");
            let value = serde_json::from_str::<serde_json::Value>(text);
            assert!(value.is_err() || from_value::<Outer>(&value.unwrap()).is_ok() == ok, "{text}");
        }
        assert!(from_slice::<[Inner; 1]>(br#"[{"a":"x"}]"#).is_ok(), "an array is an array");
        assert!(from_slice::<[Inner; 1]>(br#"[["x",1]]"#).is_err());
        let error = from_slice::<Outer>(b"{\n\"inner\":[\"x\",1]}").unwrap_err();
        assert_eq!((error.line(), error.is_data()), (2, true), "{error}");
        for text in [r#"["x"]"#, "null", "1", r#"{"inner":"x"}"#, r#"{"inner":{"a":"x"},"kinds":[{"members":[]}]}"#] {
            let error = from_slice::<Outer>(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("expected an object") && !error.contains("struct"), "{text}: {error}");
        }
    }
}
