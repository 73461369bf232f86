//! What tests of the program share: starting it with a cache of its own, and reading what it leaves.
#![allow(dead_code, reason = "each file of tests uses a part of it")]
#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

use std::path::Path;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use predicates::prelude::*;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_gen");

/// What tests keep together. What the user's evaluations kept is of other threads and other code.
pub(crate) const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

/// `gen` with the cache of the tests.
pub(crate) fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env("GEN_DATA", CACHE);
    command
}

/// What became of `gen` in `folder`, with a cache there, and with these words on one thread.
pub(crate) fn run_in(folder: &Path, line: &str, places: &[&Path]) -> Assert {
    let mut command = Command::new(PROGRAM);
    command.current_dir(folder).env("GEN_DATA", folder.join("cache")).env("OMP_NUM_THREADS", "1");
    command.args(words(line, places)).assert()
}

/// The words of a line, with a place for each `{}`.
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

/// One line of an error, whatever progress is shown.
pub(crate) fn one_line() -> impl Predicate<str> {
    predicate::function(|text: &str| text.lines().filter(|line| line.starts_with("gen: ")).count() == 1)
}

/// A column of a table, by its name; what is no number is NaN.
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
