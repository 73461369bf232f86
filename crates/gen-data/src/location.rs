//! The location of a user's own file with options for reading it: `PATH?key=value&key=value`.

use std::path::{Path, PathBuf};

use gen_core::{Error, Result};

use crate::csv::CsvOptions;

/// A path and the options after its question mark.
#[derive(Debug)]
pub(super) struct Location {
    pub(super) path: PathBuf,
    options: Vec<(String, String)>,
}

impl Location {
    /// Splits `text` at its last question mark, unless a file of that whole name exists. `known` are the options of
    /// this `kind` of data.
    pub(super) fn parse(kind: &'static str, text: &str, known: &[&str]) -> Result<Self> {
        let (path, options) = match text.rsplit_once('?') {
            Some((path, options)) if !Path::new(text).exists() => (path, options),
            _ => (text, ""),
        };
        let mut found: Vec<(String, String)> = Vec::new();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            if !known.contains(&key) {
                return Err(Error::unknown(kind, key, known.iter().copied()));
            }
            if found.iter().any(|(there, _)| there == key) {
                return Err(Error::invalid(format!("`{key}` is given twice in `{text}`")));
            }
            found.push((key.to_owned(), value.to_owned()));
        }
        Ok(Location { path: path.into(), options: found })
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.options.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The value of `size=<pixels>`.
    pub(super) fn size(&self) -> Result<Option<u32>> {
        let Some(value) = self.get("size") else { return Ok(None) };
        let size = value.parse().ok().filter(|size| (1..=4096).contains(size));
        size.map(Some)
            .ok_or_else(|| Error::invalid(format!("`size` takes a side from 1 to 4096 pixels, found `{value}`")))
    }

    /// The names in a list such as `dequantise=a,b`.
    pub(super) fn list(&self, key: &'static str) -> Result<Vec<String>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let names: Vec<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) {
            return Err(Error::invalid(format!(
                "`{key}` takes names or numbers of columns, separated by commas, as {key}=a,b; found `{value}`"
            )));
        }
        Ok(names)
    }

    /// The options for reading a table.
    pub(super) fn csv(&self) -> Result<CsvOptions> {
        Ok(CsvOptions {
            columns: self.list("columns")?,
            header: self.choice("header", ["yes", "no"])?,
            decimal_comma: self.choice("decimal", ["comma", "point"])?,
        })
    }

    /// Whether the value is the first of two choices; `None` where the key is absent.
    fn choice(&self, key: &str, [first, second]: [&str; 2]) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) if value == first => Ok(Some(true)),
            Some(value) if value == second => Ok(Some(false)),
            Some(value) => Err(Error::invalid(format!("`{key}` takes {first} or {second}, found `{value}`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_follow_the_question_mark() {
        let known = ["columns", "header", "decimal", "dequantise"];
        let place = Location::parse("option", "a/b.csv?columns=x, y&header=no&decimal=comma", &known).unwrap();
        assert_eq!(place.path, Path::new("a/b.csv"));
        let expected = CsvOptions {
            columns: vec!["x".to_owned(), "y".to_owned()],
            header: Some(false),
            decimal_comma: Some(true),
        };
        assert_eq!(place.csv().unwrap(), expected);
        let error = |text: &str| match Location::parse("option", text, &known) {
            Ok(place) => place.csv().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(error("x?colums=a"), "unknown option `colums`: did you mean `columns`?");
        assert_eq!(error("x?header=maybe"), "`header` takes yes or no, found `maybe`");
        assert!(error("x?columns=a,,b").contains("as columns=a,b"));
        assert!(error("x?header=no&header=yes").contains("twice"));
        assert_eq!(Location::parse("option", "a.csv", &known).unwrap().csv().unwrap(), CsvOptions::default());
    }

    #[test]
    fn a_name_may_have_a_question_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("what?.csv");
        std::fs::write(&path, "1\n").unwrap();
        let place = Location::parse("option", path.to_str().unwrap(), &["header"]).unwrap();
        assert_eq!(place.path, path);
        let with = format!("{}?header=no", path.display());
        assert_eq!(Location::parse("option", &with, &["header"]).unwrap().path, path);
    }
}
