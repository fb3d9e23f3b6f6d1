//! Settings in layers: a preset's TOML text, then a file, then `--set key=value`; each overrides the one before.
//!
//! The layers are merged as TOML tables and then read into any deserialisable struct. A key that the struct does not
//! have, a value of the wrong type and a missing key are errors that name the key, what was given, what was expected
//! and which layer it came from. An unknown key names the nearest known one.
//!
//! ```
//! use hrm_host::settings::Settings;
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Training { lr: f64, warmup: u32 }
//!
//! let mut settings = Settings::default();
//! settings.text("preset small", "lr = 1e-4\nwarmup = 2000")?;
//! settings.set("warmup=10")?;
//! let training: Training = settings.build()?;
//! assert_eq!((training.lr, training.warmup), (1e-4, 10));
//!
//! settings.set("warmpu=10")?;
//! let error = settings.build::<Training>().err().unwrap();
//! assert_eq!(error.hint_text(), Some("did you mean `warmup`?"));
//! # Ok::<(), hrm_host::error::Error>(())
//! ```

mod read;

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::error::{Error, Result};
use crate::files;

/// Whether a text is YAML, as the published program's configurations are.
fn is_yaml(origin: &str, text: &str) -> bool {
    let ends = |suffix: &&str| origin.to_lowercase().ends_with(*suffix);
    let is_key = |line: &str| {
        line.split_once(':').is_some_and(|(key, _)| !key.is_empty() && !key.contains(['=', '"', ' ']))
    };
    [".yaml", ".yml"].iter().any(ends) || text.lines().next().is_some_and(is_key)
}
/// Longest file of settings, far beyond any that a person writes.
const LONGEST: u64 = 1 << 20;

/// The layers merged so far, and which layer each value came from.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    table: Table,
    origins: BTreeMap<String, String>,
}

impl Settings {
    /// Lays TOML text over what is there; `origin` names it in errors, as in `preset sudoku-mini`.
    pub fn text(&mut self, origin: &str, text: &str) -> Result<()> {
        let layer: Table = toml::from_str(text).map_err(|error| {
            let error = Error::input(format!("{origin}: not TOML: {}", error.to_string().trim_end()));
            error.hint(if is_yaml(origin, text) {
                "settings are TOML, like the settings.toml of a run; all_config.yaml goes with a checkpoint: hrm import"
            } else {
                "settings are TOML, like the settings.toml of a run"
            })
        })?;
        self.merge(layer, origin);
        Ok(())
    }

    /// Lays a TOML file over what is there.
    pub fn file(&mut self, path: &Path) -> Result<()> {
        self.text(&path.display().to_string(), &files::text_at_most(path, LONGEST)?)
    }

    /// Lays one `key=value` over what is there. The key may be dotted (`model.hidden_size=128`); the value is a TOML
    /// value, and a string where it is not one (`augment=sudoku`).
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let Some((path, value)) = split_assignment(assignment) else {
            return Err(Error::usage(format!("given --set {assignment}, expected --set KEY=VALUE")));
        };
        let mut layer = Table::new();
        let mut keys = path.rsplit('.');
        let last = keys.next().unwrap_or(path);
        layer.insert(last.to_owned(), parse_value(value));
        for key in keys {
            layer = Table::from_iter([(key.to_owned(), Value::Table(layer))]);
        }
        self.merge(layer, &format!("--set {assignment}"));
        Ok(())
    }

    /// The merged settings as TOML text, to be kept beside a run.
    pub fn to_toml(&self) -> String {
        self.table.to_string()
    }

    /// Reads the merged settings into `T`.
    ///
    /// Keys are checked against the struct's fields whether or not it says `deny_unknown_fields`; a struct with a
    /// flattened part is read as a map, and only its own check applies.
    pub fn build<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(read::At::root(&self.table)).map_err(|error| {
            let origin = self.origin(&error.path);
            let at = if error.path.is_empty() { String::new() } else { format!("{}: ", error.path) };
            let from = origin.map_or(String::new(), |origin| format!(" (from {origin})"));
            let described = Error::input(format!("{at}{}{from}", error.message));
            match error.hint {
                Some(hint) => described.hint(hint),
                None => described,
            }
        })
    }

    /// The layer that set this key, or a key below it.
    fn origin(&self, path: &str) -> Option<&str> {
        // An element of an array came from where the array came from.
        let path = path.split('[').next().unwrap_or(path);
        let below = format!("{path}.");
        let mut from = self.origins.range(path.to_owned()..);
        let (key, origin) = from.next()?;
        (!path.is_empty() && (key == path || key.starts_with(&below))).then_some(origin.as_str())
    }

    fn merge(&mut self, layer: Table, origin: &str) {
        merge(&mut self.table, layer, "", origin, &mut self.origins);
    }
}

/// `KEY=VALUE` in its two halves, when the key is made of non-empty dotted parts.
pub fn split_assignment(assignment: &str) -> Option<(&str, &str)> {
    let (path, value) = assignment.split_once('=')?;
    let (path, value) = (path.trim(), value.trim());
    let is_key = |key: &str| {
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    path.split('.').all(is_key).then_some((path, value))
}

fn parse_value(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("v = {text}")).ok().filter(|table| table.len() == 1);
    parsed.and_then(|mut table| table.remove("v")).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Tables are merged key by key; anything else replaces what was there.
fn merge(under: &mut Table, over: Table, prefix: &str, origin: &str, origins: &mut BTreeMap<String, String>) {
    for (key, value) in over {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over, &path, origin, origins),
            (_, Value::Table(over)) => {
                forget(origins, &path);
                let mut fresh = Table::new();
                merge(&mut fresh, over, &path, origin, origins);
                under.insert(key, Value::Table(fresh));
            }
            (_, value) => {
                forget(origins, &path);
                origins.insert(path, origin.to_owned());
                under.insert(key, value);
            }
        }
    }
}

fn forget(origins: &mut BTreeMap<String, String>, path: &str) {
    let below = format!("{path}.");
    origins.retain(|key, _| key != path && !key.starts_with(&below));
}

#[cfg(test)]
mod tests;
