use std::collections::BTreeSet;

use toml::{Table, Value};

use super::KIND;
use crate::error::{Error, Result};

/// Overlays `changes` on `table`, key by key, tables within tables. Where a choice changes its kind, the defaults of
/// the new kind take the place of its table first; `complete` fills them in, see [`complete`](super::complete). The
/// name of a kind stands for a choice of that kind: `prior = "flow"`.
///
/// # Errors
/// When a key is not in the table, or its value has another type; those of `complete`.
pub fn overlay(table: &mut Table, changes: &Table, complete: impl Fn(&Table) -> Result<Table>) -> Result<()> {
    let changes = written_out(table, changes);
    while choose_a_kind(table, &changes) {
        *table = complete(table)?;
    }
    overlay_values("", table, &changes)
}

/// `changes` with a table in the place of each name of a kind.
fn written_out(table: &Table, changes: &Table) -> Table {
    let mut changes = changes.clone();
    for (key, change) in &mut changes {
        match (table.get(key), &change) {
            (Some(Value::Table(current)), Value::Table(inner)) => *change = written_out(current, inner).into(),
            (Some(Value::Table(current)), Value::String(_)) if current.contains_key(KIND) => {
                *change = Table::from_iter([(KIND.to_owned(), change.clone())]).into();
            }
            _ => {}
        }
    }
    changes
}

/// Empties the first choice whose kind differs from that in `changes`, but for its new kind.
fn choose_a_kind(table: &mut Table, changes: &Table) -> bool {
    let mut pairs = changes.iter().filter_map(|(key, change)| Some((key, change.as_table()?)));
    pairs.any(|(key, change)| {
        let Some(current) = table.get_mut(key).and_then(Value::as_table_mut) else { return false };
        match (current.get(KIND), change.get(KIND)) {
            (Some(before), Some(kind)) if before != kind => {
                *current = Table::from_iter([(KIND.to_owned(), kind.clone())]);
                true
            }
            _ => choose_a_kind(current, change),
        }
    })
}

fn overlay_values(prefix: &str, table: &mut Table, changes: &Table) -> Result<()> {
    for (key, change) in changes {
        let name = format!("{prefix}{key}");
        let known = || table.keys().map(|key| format!("{prefix}{key}")).collect::<Vec<_>>();
        let known = if table.contains_key(key) { Vec::new() } else { known() };
        match (table.get_mut(key), change) {
            (None, _) => return Err(Error::unknown("key", &name, known.iter().map(String::as_str))),
            (Some(Value::Table(inner)), Value::Table(changes)) => {
                overlay_values(&format!("{name}."), inner, changes)?;
            }
            (Some(current), change) => *current = conform(&name, current, change.clone())?,
        }
    }
    Ok(())
}

/// Sets one `key=value` as typed on a command line. A dotted key names a key of an inner table; a plain key may stand
/// in any table, but in one only.
///
/// The key of a choice takes its kind: `prior=flow` replaces the table `prior` by the defaults of that kind, which
/// `complete` fills in; `prior.layers=4` then refines it.
///
/// ```
/// use gen_core::config::set;
/// # use gen_core::{Result, config::complete};
/// # use serde::{Deserialize, Serialize};
/// #
/// # #[derive(Serialize, Deserialize)]
/// # struct Config { model: Model, training: Training }
/// # #[derive(Serialize, Deserialize)]
/// # struct Model { width: i64, prior: Prior }
/// # #[derive(Serialize, Deserialize)]
/// # struct Training { batch_size: i64 }
/// # #[derive(Serialize, Deserialize)]
/// # #[serde(tag = "kind", rename_all = "kebab-case")]
/// # enum Prior { Normal, Flow(FlowPrior) }
/// # #[derive(Serialize, Deserialize)]
/// # #[serde(default)]
/// # struct FlowPrior { layers: i64 }
/// # impl Default for FlowPrior {
/// #     fn default() -> Self { FlowPrior { layers: 8 } }
/// # }
/// let mut table = toml::toml! { [model]
/// width = 64
/// prior = { kind = "normal" }
/// [training]
/// batch_size = 128 };
/// let mut set = |assignment: &str| set(&mut table, assignment, complete::<Config>);
/// set("width=32")?;
/// set("training.batch_size=16")?;
/// assert_eq!(set("widht=1").unwrap_err().to_string(), "unknown key `widht`: did you mean `width`?");
/// set("prior=flow")?;
/// set("prior.layers=4")?;
/// assert_eq!(
///     table,
///     toml::toml! { [model]
///     width = 32
///     prior = { kind = "flow", layers = 4 }
///     [training]
///     batch_size = 16 }
/// );
/// # Ok::<(), gen_core::Error>(())
/// ```
///
/// # Errors
/// When there is no `=`, the key is unknown or ambiguous, or the value has the wrong type; those of `complete`.
pub fn set(table: &mut Table, assignment: &str, complete: impl Fn(&Table) -> Result<Table>) -> Result<()> {
    let (key, text) =
        assignment.split_once('=').ok_or_else(|| Error::invalid(format!("`{assignment}` should be key=value")))?;
    let (key, text) = (key.trim(), text.trim());
    let path = find(table, key.strip_suffix(".kind").unwrap_or(key))?;
    let Some(current) = value_at(table, &path) else { return Ok(()) };
    let value = match current {
        Value::Table(_) if text.starts_with('{') => parse(current, text),
        Value::Table(_) => Value::String(unquoted(text)),
        _ => conform(key, current, parse(current, text))?,
    };
    let within = |value, part: &str| Table::from_iter([(part.to_owned(), value)]).into();
    match path.rsplit('.').fold(value, within) {
        Value::Table(changes) => overlay(table, &changes, complete),
        _ => Ok(()),
    }
}

/// The path of the only key or choice that `key` names.
fn find(table: &Table, key: &str) -> Result<String> {
    let paths = settable_paths(table);
    let suffix = format!(".{key}");
    let exact: Vec<_> = paths.iter().filter(|path| *path == key).collect();
    let found = if exact.is_empty() { paths.iter().filter(|path| path.ends_with(&suffix)).collect() } else { exact };
    match found.as_slice() {
        [path] => Ok((*path).clone()),
        [] => {
            // The suggestion for a dotted key is dotted, that for a plain key is plain.
            let like_key = |path: &String| match path.rsplit_once('.') {
                Some((_, name)) if !key.contains('.') => name.to_owned(),
                _ => path.clone(),
            };
            let known: BTreeSet<String> = paths.iter().map(like_key).collect();
            Err(Error::unknown("key", key, known.iter().map(String::as_str)))
        }
        several => {
            let names: Vec<_> = several.iter().map(|path| path.as_str()).collect();
            Err(Error::invalid(format!("the key `{key}` could be {}", names.join(" or "))))
        }
    }
}

/// The paths of all values and of all choices. The kind of a choice is set by the key of the choice.
fn settable_paths(table: &Table) -> Vec<String> {
    let mut paths = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                if inner.contains_key(KIND) {
                    paths.push(key.clone());
                }
                let within = settable_paths(inner).into_iter().filter(|path| path != KIND);
                paths.extend(within.map(|path| format!("{key}.{path}")));
            }
            _ => paths.push(key.clone()),
        }
    }
    paths
}

fn value_at<'t>(table: &'t Table, path: &str) -> Option<&'t Value> {
    match path.split_once('.') {
        Some((first, rest)) => value_at(table.get(first)?.as_table()?, rest),
        None => table.get(path),
    }
}

/// Parses `text` as TOML, or takes it as a string where the current value is a string or TOML cannot parse it.
fn parse(current: &Value, text: &str) -> Value {
    if current.is_str() {
        return Value::String(unquoted(text));
    }
    toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn unquoted(text: &str) -> String {
    text.trim_matches('"').to_owned()
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
    use serde::{Deserialize, Serialize};

    use super::super::complete;
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        name: String,
        model: Model,
        training: Training,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Model {
        width: i64,
        rate: f64,
        channels: Vec<i64>,
        on: bool,
        prior: Prior,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Training {
        rate: f64,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind", rename_all = "kebab-case")]
    enum Prior {
        Normal,
        Vamp(Vamp),
        Flow(Flow),
    }

    #[derive(Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Vamp {
        components: usize,
    }

    impl Default for Vamp {
        fn default() -> Self {
            Vamp { components: 500 }
        }
    }

    #[derive(Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Flow {
        layers: usize,
        coupling: Coupling,
    }

    impl Default for Flow {
        fn default() -> Self {
            Flow { layers: 8, coupling: Coupling::Affine }
        }
    }

    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind", rename_all = "kebab-case")]
    enum Coupling {
        Affine,
        Spline(Spline),
    }

    #[derive(Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Spline {
        bins: usize,
    }

    impl Default for Spline {
        fn default() -> Self {
            Spline { bins: 16 }
        }
    }

    fn table() -> Table {
        toml::toml! {
            name = "x"
            [model]
            width = 64
            rate = 0.1
            channels = [1, 2]
            on = true
            prior = { kind = "normal" }
            [training]
            rate = 0.5
        }
    }

    fn after(assignments: &[&str]) -> Result<Table> {
        let mut table = table();
        assignments.iter().try_for_each(|assignment| set(&mut table, assignment, complete::<Config>))?;
        Ok(table)
    }

    fn prior_after(assignments: &[&str]) -> Value {
        after(assignments).unwrap()["model"]["prior"].clone()
    }

    fn message(assignments: &[&str]) -> String {
        after(assignments).unwrap_err().to_string()
    }

    #[test]
    fn values_take_the_type_of_the_default() {
        let t = after(&["width=32", "model.rate=1", "channels=[4, 8]", "on=false", "name=7"]).unwrap();
        assert_eq!(t["model"]["rate"].as_float(), Some(1.0));
        assert_eq!(t["name"].as_str(), Some("7"));
        assert_eq!(t["model"]["channels"][1].as_integer(), Some(8));
    }

    #[test]
    fn wrong_values_are_explained() {
        assert_eq!(message(&["width=wide"]), "the key `width` takes a whole number, such as 64; found \"wide\"");
        assert_eq!(message(&["rate=1"]), "the key `rate` could be model.rate or training.rate");
        assert_eq!(message(&["width"]), "`width` should be key=value");
        assert_eq!(message(&["zzz=1"]), "unknown key `zzz`: there are channels, name, on, prior, rate, width");
        assert_eq!(message(&["modle.rate=1"]), "unknown key `modle.rate`: did you mean `model.rate`?");
    }

    #[test]
    fn another_kind_brings_its_defaults_and_its_keys() {
        let vamp = toml::toml! { p = { kind = "vamp", components = 500 } };
        for name in ["prior=vamp", "model.prior=\"vamp\"", "prior.kind=vamp"] {
            assert_eq!(prior_after(&[name]), vamp["p"], "{name}");
        }
        let refined = toml::toml! { p = { kind = "vamp", components = 3 } };
        assert_eq!(prior_after(&["prior=vamp", "prior.components=3"]), refined["p"]);
        assert_eq!(prior_after(&["prior=vamp", "components=3"]), refined["p"]);
        assert_eq!(prior_after(&["prior={ kind = \"vamp\", components = 3 }"]), refined["p"]);
        // The kind that it has already keeps its settings.
        assert_eq!(prior_after(&["prior=vamp", "components=3", "prior=vamp"]), refined["p"]);
        let normal = toml::toml! { p = { kind = "normal" } };
        assert_eq!(prior_after(&["prior=vamp", "components=3", "prior=normal"]), normal["p"]);
    }

    #[test]
    fn a_choice_within_a_choice_is_set_like_any_other() {
        let nested = toml::toml! { p = { kind = "flow", layers = 8, coupling = { kind = "spline", bins = 4 } } };
        assert_eq!(prior_after(&["prior=flow", "coupling=spline", "bins=4"]), nested["p"]);
        let all_at_once = "prior={ kind = \"flow\", coupling = { kind = \"spline\", bins = 4 } }";
        assert_eq!(prior_after(&[all_at_once]), nested["p"]);
    }

    #[test]
    fn unknown_kinds_and_keys_of_another_kind_are_refused() {
        assert_eq!(message(&["prior=vmap"]), "unknown value `model.prior=vmap`: did you mean `model.prior=vamp`?");
        let unknown = message(&["prior.components=3"]);
        assert!(unknown.starts_with("unknown key `prior.components`: "), "{unknown}");
        let unknown = message(&["prior=vamp", "prior.layers=3"]);
        assert!(unknown.starts_with("unknown key `prior.layers`: "), "{unknown}");
        let unknown = message(&["prior={ kind = \"vamp\", layers = 3 }"]);
        assert!(unknown.starts_with("unknown key `model.prior.layers`: "), "{unknown}");
    }

    #[test]
    fn a_file_changes_values_and_kinds() {
        let overlaid = |changes: Table| {
            let mut table = table();
            overlay(&mut table, &changes, complete::<Config>).map(|()| table)
        };
        let t = overlaid(toml::toml! { model = { width = 1, prior = { kind = "vamp", components = 7 } } }).unwrap();
        assert_eq!(t["model"]["width"].as_integer(), Some(1));
        assert_eq!(t["model"]["prior"]["components"].as_integer(), Some(7));
        let error = overlaid(toml::toml! { model = { widht = 1 } }).unwrap_err();
        assert_eq!(error.to_string(), "unknown key `model.widht`: did you mean `model.width`?");
    }
}
