//! Configuration tables: defaults, choices, overrides by `key=value`, and suggestions for unknown keys.
//!
//! A *choice* is a table with a `kind`, an enum that serde tags: `prior = { kind = "flow", layers = 8 }`. Another kind
//! brings its own defaults, see [`set`].

mod edit;
mod message;

use std::num::NonZeroU64;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use toml::Value;

use crate::error::{Error, Result};

pub use edit::{overlay, set};
/// A table of settings.
pub use toml::Table;

/// The key of a choice that names its kind.
pub(crate) const KIND: &str = "kind";

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
    table.clone().try_into().map_err(|error| message::readable(&error))
}

/// The table with every key that it leaves to the defaults of `T`: read and written again.
///
/// ```
/// use gen_core::config::complete;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// #[serde(tag = "kind", rename_all = "kebab-case")]
/// enum Penalty {
///     None,
///     R1(R1),
/// }
///
/// #[derive(Serialize, Deserialize)]
/// #[serde(default)]
/// struct R1 {
///     gamma: f64,
/// }
///
/// impl Default for R1 {
///     fn default() -> Self {
///         R1 { gamma: 10.0 }
///     }
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Config {
///     penalty: Penalty,
/// }
///
/// let table = complete::<Config>(&toml::toml! { penalty = { kind = "r1" } })?;
/// assert_eq!(table["penalty"]["gamma"].as_float(), Some(10.0));
/// // A kind without settings takes none.
/// let error = complete::<Config>(&toml::toml! { penalty = { kind = "none", gamma = 1.0 } });
/// assert!(error.unwrap_err().to_string().starts_with("unknown key `penalty.gamma`"));
/// # Ok::<(), gen_core::Error>(())
/// ```
///
/// # Errors
/// As [`from_table`], and when `T` has no such key, which serde does not find in every kind of enum.
pub fn complete<T: Serialize + DeserializeOwned>(table: &Table) -> Result<Table> {
    let completed = to_table(&from_table::<T>(table)?)?;
    check_keys("", table, &completed)?;
    Ok(completed)
}

/// The values of a table in one line, as [`set`] takes them: `temperature=1.0 sampler=ddim sampler.steps=25`.
///
/// ```
/// use gen_core::config::assignments;
/// let table = toml::toml! {
///     temperature = 1.0
///     sampler = { kind = "ddim", steps = 25 }
/// };
/// assert_eq!(assignments(&table), "sampler=ddim sampler.steps=25 temperature=1.0");
/// ```
pub fn assignments(table: &Table) -> String {
    let mut all = Vec::new();
    collect_assignments("", table, &mut all);
    all.join(" ")
}

fn collect_assignments(prefix: &str, table: &Table, all: &mut Vec<String>) {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        match value {
            Value::Table(inner) => {
                if let Some(Value::String(kind)) = inner.get(KIND) {
                    all.push(format!("{name}={kind}"));
                }
                let settings = inner.iter().filter(|(key, _)| *key != KIND);
                let settings = settings.map(|(key, value)| (key.clone(), value.clone())).collect();
                collect_assignments(&format!("{name}."), &settings, all);
            }
            Value::String(text) => all.push(format!("{name}={text}")),
            value => all.push(format!("{name}={value}")),
        }
    }
}

/// Refuses a key of `given` that `known` does not have.
fn check_keys(prefix: &str, given: &Table, known: &Table) -> Result<()> {
    for (key, value) in given {
        match (value, known.get(key)) {
            (Value::Table(inner), Some(Value::Table(known))) => check_keys(&format!("{prefix}{key}."), inner, known)?,
            (_, Some(_)) => {}
            (_, None) => {
                let known: Vec<_> = known.keys().map(|key| format!("{prefix}{key}")).collect();
                return Err(Error::unknown("key", &format!("{prefix}{key}"), known.iter().map(String::as_str)));
            }
        }
    }
    Ok(())
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

/// Refuses a setting that is not a number from 0 up.
///
/// # Errors
/// When `value` is negative or not finite, with the name of the setting.
pub fn not_negative(key: &str, value: f64) -> Result<()> {
    if !(value >= 0.0 && value.is_finite()) {
        return Err(Error::invalid(format!("`{key}` must be a number from 0 up, found {value}")));
    }
    Ok(())
}

/// Reads a whole number from 1 up, for `serde(deserialize_with)`.
pub(crate) fn count<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    let number = NonZeroU64::deserialize(deserializer)?.get();
    T::try_from(number).map_err(|_| D::Error::custom(format!("{number} is too large")))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn missing_keys_take_their_defaults_and_unknown_ones_are_refused() {
        #[derive(Serialize, Deserialize)]
        struct Outer {
            inner: Inner,
        }
        // Serde ignores unknown keys here.
        #[derive(Serialize, Deserialize)]
        struct Inner {
            #[serde(default)]
            width: i64,
        }
        let completed = complete::<Outer>(&toml::toml! { inner = {} }).unwrap();
        assert_eq!(completed, toml::toml! { inner = { width = 0 } });
        let error = complete::<Outer>(&toml::toml! { inner = { widht = 1 } }).unwrap_err().to_string();
        assert_eq!(error, "unknown key `inner.widht`: did you mean `inner.width`?");
    }
}
