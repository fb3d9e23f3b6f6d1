//! JSON that says one thing: an object that names a key twice is an error, where `serde_json` would silently take the last.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads one JSON value.
///
/// # Errors
/// It is not JSON, something follows it, or an object in it has a key twice, which the message names.
pub fn from_str(text: &str) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Unique.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// A value without doubled keys.
#[derive(Clone, Copy)]
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            values.push(value);
        }
        Ok(values.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} is there twice")));
            }
            let value = object.next_value_seed(self)?;
            values.insert(key, value);
        }
        Ok(values.into())
    }
}

#[cfg(test)]
mod tests {
    use super::from_str;

    #[test]
    fn a_key_twice_is_an_error_that_names_it_wherever_it_is() {
        let text = r#"{"a": [1, -2, 0.5, true, null, "x", {"a": {}}], "b": {"a": 18446744073709551615}}"#;
        assert_eq!(from_str(text).unwrap(), serde_json::from_str::<serde_json::Value>(text).unwrap());
        for text in [r#"{"a": 1, "a": 1}"#, r#"{"b": [{"c": {"a": 1, "d": 2, "a": 3}}]}"#] {
            let message = from_str(text).unwrap_err().to_string();
            assert!(message.contains(r#"the key "a" is there twice"#), "{message}");
        }
        for text in ["", "{", "{} {}", "[1,]", "nul"] {
            assert!(from_str(text).is_err(), "{text}");
        }
    }
}
