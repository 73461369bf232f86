//! Configuration tables: defaults, overrides by `key=value`, and suggestions for unknown keys.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use toml::{Table, Value};

use crate::error::{Error, Result};

/// A configuration struct as a table.
///
/// # Errors
/// When TOML cannot represent a value.
pub fn to_table<T: Serialize>(config: &T) -> Result<Table> {
    Table::try_from(config).map_err(|error| Error::invalid(format!("configuration: {error}")))
}

/// A table as a configuration struct.
///
/// # Errors
/// When a key is missing or unknown, or a value has the wrong type or is not one of the choices.
pub fn from_table<T: DeserializeOwned>(table: &Table) -> Result<T> {
    let read = table.clone().try_into();
    read.map_err(|error: toml::de::Error| Error::invalid(readable(&error)))
}

/// The message for a wrong value, with its key first.
fn readable(error: &toml::de::Error) -> String {
    // Only the full text names the keys, in its last line.
    let text = error.to_string();
    let key = text.lines().find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
    let Some(key) = key else { return format!("configuration: {}", error.message()) };
    let whole = ["u8", "u16", "u32", "u64", "usize", "a nonzero u64", "a nonzero usize"];
    let expected = error.message().rsplit_once(", expected ").map(|(_, expected)| expected);
    let found = error.message().split_once("integer `").and_then(|(_, rest)| rest.split_once('`'));
    match (expected, found) {
        (Some(expected), Some((found, _))) if whole.contains(&expected) => {
            let least = u8::from(expected.starts_with("a nonzero"));
            format!("`{key}` must be a whole number from {least} up, found {found}")
        }
        _ => format!("`{key}`: {}", error.message()),
    }
}

/// Refuses a setting below 1.
///
/// # Errors
/// When `value` is, with the name of the setting.
pub fn at_least_one(key: &str, value: i64) -> Result<()> {
    if value < 1 {
        return Err(Error::invalid(format!("`{key}` must be at least 1, found {value}")));
    }
    Ok(())
}

/// Refuses a setting that is not a positive number.
///
/// # Errors
/// When `value` is 0, negative or not finite, with the name of the setting.
pub fn positive(key: &str, value: f64) -> Result<()> {
    if !(value > 0.0 && value.is_finite()) {
        return Err(Error::invalid(format!("`{key}` must be a positive number, found {value}")));
    }
    Ok(())
}

/// Reads a whole number from 1 up, for `serde(deserialize_with)`.
pub(crate) fn count<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    let number = NonZeroU64::deserialize(deserializer)?.get();
    T::try_from(number).map_err(|_| D::Error::custom(format!("{number} is too large")))
}

/// Overlays `changes` on `defaults`, key by key, tables within tables.
///
/// # Errors
/// When a key is not among the defaults, or its value has another type.
pub fn overlay(defaults: &mut Table, changes: &Table) -> Result<()> {
    for (key, change) in changes {
        let Some(current) = defaults.get_mut(key) else {
            return Err(Error::unknown("key", key, defaults.keys().map(String::as_str)));
        };
        match (current, change) {
            (Value::Table(inner), Value::Table(changes)) => overlay(inner, changes)?,
            (current, change) => *current = conform(key, current, change.clone())?,
        }
    }
    Ok(())
}

/// Sets one `key=value` as typed on a command line. A dotted key names a key of an inner table; a plain key may stand
/// in any table, but in one only.
///
/// ```
/// use gen_core::config::set;
/// let mut table = toml::toml! { [model]
/// width = 64
/// [training]
/// batch_size = 128 };
/// set(&mut table, "width=32").unwrap();
/// set(&mut table, "training.batch_size=16").unwrap();
/// assert_eq!(table["model"]["width"].as_integer(), Some(32));
/// assert_eq!(set(&mut table, "widht=1").unwrap_err().to_string(), "unknown key `widht`: did you mean `width`?");
/// ```
///
/// # Errors
/// When there is no `=`, the key is unknown or ambiguous, or the value has the wrong type.
pub fn set(table: &mut Table, assignment: &str) -> Result<()> {
    let (key, text) =
        assignment.split_once('=').ok_or_else(|| Error::invalid(format!("`{assignment}` should be key=value")))?;
    let (key, text) = (key.trim(), text.trim());
    let paths = leaf_paths(table);
    let suffix = format!(".{key}");
    let exact: Vec<_> = paths.iter().filter(|path| *path == key).collect();
    let found = if exact.is_empty() { paths.iter().filter(|path| path.ends_with(&suffix)).collect() } else { exact };
    let path = match found.as_slice() {
        [path] => path.as_str(),
        [] => {
            // The suggestion for a dotted key is dotted, that for a plain key is plain.
            let like_key = |path: &String| match path.rsplit_once('.') {
                Some((_, name)) if !key.contains('.') => name.to_owned(),
                _ => path.clone(),
            };
            let known: BTreeSet<String> = paths.iter().map(like_key).collect();
            return Err(Error::unknown("key", key, known.iter().map(String::as_str)));
        }
        several => {
            let names: Vec<_> = several.iter().map(|path| path.as_str()).collect();
            return Err(Error::invalid(format!("the key `{key}` could be {}", names.join(" or "))));
        }
    };
    let mut place = table;
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        let Some(value) = place.get_mut(part) else { break };
        if parts.peek().is_none() {
            *value = conform(key, value, parse(value, text))?;
            break;
        }
        let Some(inner) = value.as_table_mut() else { break };
        place = inner;
    }
    Ok(())
}

fn leaf_paths(table: &Table) -> Vec<String> {
    let mut paths = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                paths.extend(leaf_paths(inner).into_iter().map(|path| format!("{key}.{path}")));
            }
            _ => paths.push(key.clone()),
        }
    }
    paths
}

/// Parses `text` as TOML, or takes it as a string where the current value is a string or TOML cannot parse it.
fn parse(current: &Value, text: &str) -> Value {
    if current.is_str() {
        return Value::String(text.trim_matches('"').to_owned());
    }
    toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

/// The value in the type of the current one. Integers convert to floats, and floats without a fraction to integers.
fn conform(key: &str, current: &Value, value: Value) -> Result<Value> {
    match (current, value) {
        (Value::Float(_), Value::Integer(whole)) => Ok(Value::Float(whole as f64)),
        (Value::Integer(_), Value::Float(float)) if float.fract() == 0.0 => Ok(Value::Integer(float as i64)),
        (current, value) if current.same_type(&value) => Ok(value),
        (current, value) => Err(Error::invalid(format!(
            "the key `{key}` takes {}, such as {current}; found {value}",
            match current.type_str() {
                "integer" => "a whole number",
                "float" => "a number",
                "boolean" => "true or false",
                "array" => "a list",
                other => other,
            }
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        toml::toml! {
            name = "x"
            [model]
            width = 64
            rate = 0.1
            channels = [1, 2]
            on = true
            [training]
            rate = 0.5
        }
    }

    #[test]
    fn values_take_the_type_of_the_default() {
        let mut t = table();
        for assignment in ["width=32", "model.rate=1", "channels=[4, 8]", "on=false", "name=7"] {
            set(&mut t, assignment).unwrap();
        }
        assert_eq!(t["model"]["rate"].as_float(), Some(1.0));
        assert_eq!(t["name"].as_str(), Some("7"));
        assert_eq!(t["model"]["channels"][1].as_integer(), Some(8));
    }

    #[test]
    fn wrong_values_are_explained() {
        let message = |assignment: &str| set(&mut table(), assignment).unwrap_err().to_string();
        assert_eq!(message("width=wide"), "the key `width` takes a whole number, such as 64; found \"wide\"");
        assert_eq!(message("rate=1"), "the key `rate` could be model.rate or training.rate");
        assert_eq!(message("width"), "`width` should be key=value");
        assert_eq!(message("zzz=1"), "unknown key `zzz`: there are channels, name, on, rate, width");
        assert_eq!(message("modle.rate=1"), "unknown key `modle.rate`: did you mean `model.rate`?");
    }

    #[test]
    fn numbers_out_of_range_are_explained() {
        assert!(at_least_one("width", 1).is_ok() && positive("beta", 1e-9).is_ok());
        assert_eq!(at_least_one("width", 0).unwrap_err().to_string(), "`width` must be at least 1, found 0");
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let message = positive("beta", wrong).unwrap_err().to_string();
            assert_eq!(message, format!("`beta` must be a positive number, found {wrong}"));
        }
    }

    #[test]
    fn errors_in_values_name_the_key() {
        #[derive(Debug, serde::Deserialize)]
        struct Inner {
            #[allow(dead_code)]
            count: usize,
            #[allow(dead_code)]
            #[serde(default, deserialize_with = "count")]
            size: usize,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Outer {
            #[allow(dead_code)]
            inner: Inner,
        }
        let message = |table: Table| from_table::<Outer>(&table).unwrap_err().to_string();
        let negative = message(toml::toml! { inner = { count = -3 } });
        assert_eq!(negative, "`inner.count` must be a whole number from 0 up, found -3");
        let zero = message(toml::toml! { inner = { count = 0, size = 0 } });
        assert_eq!(zero, "`inner.size` must be a whole number from 1 up, found 0");
        let negative = message(toml::toml! { inner = { count = 0, size = -3 } });
        assert_eq!(negative, "`inner.size` must be a whole number from 1 up, found -3");
        let text = message(toml::toml! { inner = { count = "x" } });
        assert_eq!(text, "`inner.count`: invalid type: string \"x\", expected usize");
    }

    #[test]
    fn overlay_refuses_unknown_keys() {
        let mut t = table();
        overlay(
            &mut t,
            &toml::toml! { [model]
            width = 1 },
        )
        .unwrap();
        assert_eq!(t["model"]["width"].as_integer(), Some(1));
        let error = overlay(
            &mut t,
            &toml::toml! { [model]
            widht = 1 },
        );
        assert_eq!(error.unwrap_err().to_string(), "unknown key `widht`: did you mean `width`?");
    }
}
