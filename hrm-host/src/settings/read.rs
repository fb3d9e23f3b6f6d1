//! A TOML value with its place, as a serde deserializer whose errors name that place.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use toml::{Table, Value};

use crate::model_io::keys;
use crate::nearest::nearest;

/// A field that tells the settings of a model's architecture from others.
const ARCHITECTURE: &str = "hidden_size";

/// A value and the dotted path that leads to it.
#[derive(Clone)]
pub(super) struct At<'a> {
    value: Node<'a>,
    path: String,
    /// Keys of it that are passed over.
    passed: Vec<&'a str>,
}

#[derive(Clone, Copy)]
enum Node<'a> {
    Table(&'a Table),
    Value(&'a Value),
}

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct ReadError {
    pub path: String,
    pub message: String,
    pub hint: Option<String>,
    /// Set once by the deepest value, kept on the way up.
    placed: bool,
}

impl ReadError {
    fn new(message: String) -> Self {
        Self { path: String::new(), message, hint: None, placed: false }
    }

    fn at(mut self, path: &str) -> Self {
        if !self.placed {
            self.path = join(path, &self.path);
            self.placed = true;
        }
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("given {}, expected {}", Given(given), plain(expected)))
    }

    fn invalid_value(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(given, expected)
    }

    fn invalid_length(given: usize, expected: &dyn Expected) -> Self {
        Self::new(format!("given {given} values, expected {expected}"))
    }

    fn unknown_variant(given: &str, known: &'static [&'static str]) -> Self {
        let expected: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        let mut error = Self::new(format!("given `{given}`, expected one of {}", expected.join(", ")));
        error.hint = nearest(given, known).map(|name| format!("did you mean `{name}`?"));
        error
    }

    fn unknown_field(given: &str, known: &'static [&'static str]) -> Self {
        let mut error = Self::new("no such setting".to_owned());
        given.clone_into(&mut error.path);
        error.hint = Some(match nearest(given, known) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("known here: {}", known.join(", ")),
        });
        error
    }

    fn missing_field(field: &'static str) -> Self {
        let mut error = Self::new("missing, and it has no default".to_owned());
        field.clone_into(&mut error.path);
        error
    }
}

/// A value as it stands in TOML, where it is short.
struct Given<'a>(Unexpected<'a>);

impl fmt::Display for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Str(text) => write!(f, "{text:?}"),
            Unexpected::Signed(number) => write!(f, "{number}"),
            Unexpected::Float(number) => write!(f, "{number}"),
            Unexpected::Bool(truth) => write!(f, "{truth}"),
            other => write!(f, "{other}"),
        }
    }
}

/// What is expected, with words for the types of Rust that serde names.
fn plain(expected: &dyn Expected) -> String {
    let expected = expected.to_string();
    match expected.as_str() {
        "f32" | "f64" => "a number".to_owned(),
        "i8" | "i16" | "i32" | "i64" => "a whole number".to_owned(),
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" | "u32" | "u64" | "usize" => "a whole number, not negative".to_owned(),
        text if text.starts_with("struct ") => "a table of settings".to_owned(),
        _ => expected,
    }
}

impl<'a> At<'a> {
    pub(super) fn root(table: &'a Table) -> Self {
        Self { value: Node::Table(table), path: String::new(), passed: Vec::new() }
    }

    fn new(value: &'a Value, path: String) -> Self {
        Self { value: Node::Value(value), path, passed: Vec::new() }
    }

    fn table(&self) -> Option<&'a Table> {
        match self.value {
            Node::Table(table) | Node::Value(Value::Table(table)) => Some(table),
            Node::Value(_) => None,
        }
    }

    fn visit<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, ReadError> {
        if let Some(table) = self.table() {
            let kept = table.iter().filter(|(key, _)| !self.passed.contains(&key.as_str()));
            let entries = kept.map(|(key, value)| (key.as_str(), At::new(value, join(&self.path, key))));
            return visitor.visit_map(MapDeserializer::new(entries));
        }
        let Node::Value(value) = self.value else { return visitor.visit_unit() };
        match value {
            Value::String(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(truth) => visitor.visit_bool(*truth),
            Value::Datetime(time) => visitor.visit_string(time.to_string()),
            Value::Array(values) => {
                let elements = values
                    .iter()
                    .enumerate()
                    .map(|(index, value)| At::new(value, format!("{}[{index}]", self.path)));
                visitor.visit_seq(SeqDeserializer::new(elements))
            }
            // Handled above.
            Value::Table(_) => visitor.visit_unit(),
        }
    }
}

impl<'de> IntoDeserializer<'de, ReadError> for At<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for At<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.visit(visitor).map_err(|error| error.at(&self.path))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let Some(table) = self.table() else { return self.deserialize_any(visitor) };
        let mut known = self.clone();
        for (key, value) in table.iter().filter(|(key, _)| !fields.contains(&key.as_str())) {
            // A switch of another model that asks for what this program does changes nothing.
            let foreign = |value| keys::is_foreign_setting(key, &value, json(table));
            let passed = match serde_json::to_value(value) {
                Ok(value) if fields.contains(&ARCHITECTURE) => foreign(value),
                _ => Ok(false),
            };
            match passed {
                Ok(true) => known.passed.push(key),
                Ok(false) => return Err(<ReadError as de::Error>::unknown_field(key, fields).at(&self.path)),
                Err(problem) => return Err(ReadError::new(problem).at(&join(&self.path, key))),
            }
        }
        known.visit(visitor).map_err(|error| error.at(&self.path))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let result = match self.value {
            Node::Value(Value::String(name)) => {
                visitor.visit_enum(IntoDeserializer::<ReadError>::into_deserializer(name.as_str()))
            }
            Node::Value(Value::Table(table)) if table.len() == 1 => {
                let map =
                    table.iter().map(|(key, value)| (key.as_str(), At::new(value, join(&self.path, key))));
                visitor.visit_enum(de::value::MapAccessDeserializer::new(MapDeserializer::new(map)))
            }
            _ => Err(ReadError::new(format!("expected one of {}", variants.join(", ")))),
        };
        result.map_err(|error| error.at(&self.path))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier ignored_any
    }
}

/// A table as JSON, without what JSON does not have.
fn json(table: &Table) -> keys::Fields {
    table.iter().filter_map(|(key, value)| Some((key.clone(), serde_json::to_value(value).ok()?))).collect()
}

fn join(path: &str, key: &str) -> String {
    match (path.is_empty(), key.is_empty()) {
        (true, _) => key.to_owned(),
        (_, true) => path.to_owned(),
        _ => format!("{path}.{key}"),
    }
}
