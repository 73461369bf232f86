use toml::Table;

/// The sections of settings that `--set` changes.
const SECTIONS: [&str; 4] = ["model", "training", "sampling", "data"];

/// One table of these sections.
pub(super) fn sections(tables: [Table; 4]) -> Table {
    SECTIONS.into_iter().map(str::to_owned).zip(tables.map(toml::Value::from)).collect()
}

/// A table within a table; empty if it is missing.
pub(super) fn section(table: &Table, name: &str) -> Table {
    table.get(name).and_then(toml::Value::as_table).cloned().unwrap_or_default()
}
