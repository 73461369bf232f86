//! Helpers for tests of the program: starting it with a separate cache, and reading its files.
#![allow(dead_code, reason = "each file of tests uses a part of this module")]
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use predicates::prelude::*;
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_gen");

/// The cache of the tests. The user's cache may hold results of other versions of the program.
pub(crate) const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

/// `gen` with the cache of the tests.
pub(crate) fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env("GEN_DATA", CACHE);
    command
}

/// The result of `gen` in `folder` with these words, on one thread, with a cache in the folder.
pub(crate) fn run_in(folder: &Path, line: &str, places: &[&Path]) -> Assert {
    let mut command = Command::new(PROGRAM);
    command.current_dir(folder).env("GEN_DATA", folder.join("cache")).env("OMP_NUM_THREADS", "1");
    command.args(words(line, places)).assert()
}

/// The words of a line, with a path in place of each `{}`.
pub(crate) fn words(line: &str, places: &[&Path]) -> Vec<String> {
    let mut places = places.iter();
    let mut words = Vec::new();
    for word in line.split_whitespace() {
        words.push(match word.contains("{}") {
            true => word.replace("{}", &places.next().unwrap().to_string_lossy()),
            false => word.to_owned(),
        });
    }
    words
}

pub(crate) fn stderr(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

/// Trains each `(model, data, options)` and returns the folder with the runs, each called `model-data`.
pub(crate) fn train(runs: &[(&str, &str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (model, data, options) in runs {
        let line = format!("train {model} --data {data} --threads 1 --progress none {options} --out {{}}");
        program().args(words(&line, &[&folder.path().join(format!("{model}-{data}"))])).assert().success();
    }
    folder
}

/// Holds for an error in one line, with any lines of progress.
pub(crate) fn one_line() -> impl Predicate<str> {
    predicate::function(|text: &str| text.lines().filter(|line| line.starts_with("gen: ")).count() == 1)
}

/// The rows of a CSV file, by the names of the columns.
pub(crate) fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect()
}

/// A number in a row.
#[track_caller]
pub(crate) fn number(row: &BTreeMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column}: {:?}", row[column]))
}

/// A column of a CSV file, by its name; NaN for cells that are not numbers.
pub(crate) fn column(path: &Path, name: &str) -> Vec<f64> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let index = reader.headers().unwrap().iter().position(|header| header == name).unwrap();
    reader.records().map(|row| row.unwrap()[index].parse().unwrap_or(f64::NAN)).collect()
}

#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(120), "{what} does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(unix)]
pub(crate) fn send(child: &std::process::Child, signal: nix::sys::signal::Signal) {
    let id = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(id, signal).unwrap();
}
