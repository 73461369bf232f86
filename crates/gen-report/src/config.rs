//! The configuration of a run: its `config.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::evaluation::Values;

/// The family of reference rows.
pub(crate) const REFERENCE: &str = "reference";
/// The prefix of their folders.
pub const REFERENCE_PREFIX: &str = "reference-";

/// `config.toml`; `None` where there is none, or it cannot be read.
pub(crate) fn read(folder: &Path) -> Option<toml::Table> {
    toml::from_str(&fs::read_to_string(folder.join("config.toml")).ok()?).ok()
}

/// Hyperparameters, training settings and options of the data, by dotted name. Seed, budget, data set and machine have
/// columns of their own and are left out.
pub(crate) fn settings(config: &toml::Table) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    for part in ["model", "training"] {
        flatten(part, config.get(part), &mut settings);
    }
    flatten("data.options", config.get("data").and_then(|data| data.get("options")), &mut settings);
    settings
}

fn flatten(name: &str, value: Option<&toml::Value>, into: &mut BTreeMap<String, String>) {
    match value {
        Some(toml::Value::Table(table)) => {
            for (key, value) in table {
                flatten(&format!("{name}.{key}"), Some(value), into);
            }
        }
        Some(value) => drop(into.insert(name.to_owned(), value.to_string())),
        None => {}
    }
}

/// The name of a run folder without the seed at its end, and the seed.
pub(crate) fn split_seed(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once("-s") {
        Some((stem, seed)) if seed.parse::<u64>().is_ok() => (stem, Some(seed)),
        _ => (name, None),
    }
}

/// What the name of the folder and `config.toml` tell of a run, by column. The file wins.
pub(crate) fn values(config: Option<&toml::Table>, name: &str) -> Values {
    let mut values = Values::default();
    values.insert("run", name);
    if let Some(reference) = name.strip_prefix(REFERENCE_PREFIX) {
        values.insert("family", REFERENCE);
        values.insert("model", reference);
        return values;
    }
    if let (stem, Some(seed)) = split_seed(name) {
        let (model, dataset) = stem.split_once('-').unwrap_or((stem, ""));
        values.insert("model", model);
        values.insert("dataset", dataset);
        values.insert("seed", seed);
    }
    let told = [
        ("run", "family", "family"),
        ("run", "model", "model"),
        ("run", "dataset", "dataset"),
        ("run", "budget", "budget"),
        ("run", "seed", "seed"),
        ("run", "device", "device"),
        ("run", "threads", "threads"),
        ("run", "tool_version", "tool_version"),
        ("run", "libtorch_version", "libtorch_version"),
        ("training", "precision", "train_precision"),
        ("data", "sha256", "dataset_sha256"),
    ];
    for (part, key, column) in told {
        match config.and_then(|config| config.get(part)?.get(key)) {
            Some(toml::Value::String(text)) => values.insert(column, text),
            Some(toml::Value::Integer(number)) => values.insert(column, &number.to_string()),
            _ => {}
        }
    }
    values
}

/// The names of the classes of the data; `None` where the configuration has none.
pub(crate) fn class_names(folder: &Path) -> Option<Vec<String>> {
    let config = read(folder)?;
    let names = config.get("data")?.get("classes")?.as_array()?;
    names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}
