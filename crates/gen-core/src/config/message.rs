use crate::error::Error;

/// The error for a wrong value, with its key first; for an unknown key or name a suggestion.
pub(super) fn readable(error: &toml::de::Error) -> Error {
    // Only the full text names the keys, in its last line.
    let text = error.to_string();
    let message = error.message();
    let key = text.lines().find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
    // The kind of a choice is set by the key of the choice.
    let key = key.map(|key| key.strip_suffix(".kind").unwrap_or(key));
    for (start, what) in [("unknown variant `", "value"), ("unknown field `", "key")] {
        if let Some((name, known)) = message.strip_prefix(start).and_then(|rest| rest.split_once('`')) {
            // Every second part is a name in backticks.
            let name = match (what, key) {
                ("key", Some(within)) => format!("{within}.{name}"),
                ("value", Some(key)) => format!("{key}={name}"),
                _ => name.to_owned(),
            };
            let prefix = name.trim_end_matches(|c| c != '.' && c != '=');
            let known: Vec<_> = known.split('`').skip(1).step_by(2).map(|known| format!("{prefix}{known}")).collect();
            return Error::unknown(what, &name, known.iter().map(String::as_str));
        }
    }
    let Some(key) = key else { return Error::invalid(format!("configuration: {message}")) };
    let whole = ["u8", "u16", "u32", "u64", "usize", "a nonzero u64", "a nonzero usize"];
    let expected = message.rsplit_once(", expected ").map(|(_, expected)| expected);
    let found = message.split_once("integer `").and_then(|(_, rest)| rest.split_once('`'));
    Error::invalid(match (expected, found) {
        (Some(expected), Some((found, _))) if whole.contains(&expected) => {
            let least = u8::from(expected.starts_with("a nonzero"));
            format!("`{key}` must be a whole number from {least} up, found {found}")
        }
        _ => format!("`{key}`: {message}"),
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use toml::Table;

    use super::super::{count, from_table};

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Outer {
        inner: Inner,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        count: usize,
        #[serde(default, deserialize_with = "count")]
        size: usize,
        #[serde(default)]
        colour: Colour,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Colour {
        #[default]
        Red,
        Green,
    }

    fn message(table: Table) -> String {
        from_table::<Outer>(&table).unwrap_err().to_string()
    }

    #[test]
    fn errors_in_values_name_the_key() {
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
    fn unknown_names_get_a_suggestion() {
        let key = message(toml::toml! { inner = { count = 1, colur = "red" } });
        assert_eq!(key, "unknown key `inner.colur`: did you mean `inner.colour`?");
        let value = message(toml::toml! { inner = { count = 1, colour = "gren" } });
        assert_eq!(value, "unknown value `inner.colour=gren`: did you mean `inner.colour=green`?");
    }
}
