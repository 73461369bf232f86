//! `cargo xtask test`: all that must hold before a change is shared.

mod cpp;
mod programs;
mod sanitize;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use self::programs::{Programs, Queue};
use crate::process::{self, run_lines, run_merged};
use crate::{note, setup, workspace};

/// Programs of tests that run at once, at most: each may take a gigabyte of memory and threads of its own.
const MOST_LANES: usize = 4;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run gen-native's tests under sanitizers instead, with each set of instructions that the processor has: all of
    /// them, or --sanitize=address (which finds undefined behaviour too) or --sanitize=thread
    #[arg(long, value_name = "NAMES", num_args = 0.., require_equals = true, value_delimiter = ',')]
    sanitize: Option<Vec<sanitize::Sanitizer>>,
    /// Arguments for `cargo test`, such as `-p gen-flow`; with any, the crate outside the workspace is left out
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    process::catch_interrupts()?;
    setup::ensure()?;
    if let Some(sanitizers) = &args.sanitize {
        return sanitize::run(sanitizers, &args.arguments);
    }
    step("clang-format", cpp::check_format)?;
    step("cargo fmt --check", || cargo(&["fmt", "--all", "--check"]))?;
    let closing = if args.arguments.is_empty() { whole()? } else { chosen(&args.arguments)? };
    let mut out = std::io::stdout().lock();
    writeln!(out)?;
    for line in closing {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// The tests that `arguments` choose, and lints. Returns the closing line of each test program.
fn chosen(arguments: &[String]) -> Result<Vec<String>> {
    let chooses = |argument: &String| argument.starts_with("-p") || argument.starts_with("--package");
    let packages = if arguments.iter().any(chooses) { None } else { Some("--workspace") };
    let closing = step("cargo test", || {
        let mut command = workspace::cargo();
        command.arg("test").args(packages).arg("--all-features").args(arguments);
        let mut closing = Closing::default();
        let status = run_merged(command, |line| {
            closing.read(line);
            writeln!(std::io::stdout().lock(), "{line}").map_err(Into::into)
        })?;
        if !status.success() {
            bail!("{status}");
        }
        Ok(closing.lines)
    })?;
    lints(cores())?;
    Ok(closing)
}

/// All tests, lints and the crate outside the workspace, several at once. Returns the closing lines.
fn whole() -> Result<Vec<String>> {
    let queue = step("compiling the tests", || Programs::compile()?.queue())?;
    let lanes = cores().min(MOST_LANES);
    // Most tests keep one core busy. What else has to be compiled is compiled beside them, in the first lane.
    let closing = thread::scope(|scope| {
        let lane = |first: bool| {
            let queue = &queue;
            move || {
                let result = if first { lane_of_cargo(queue, cores() / lanes) } else { test_programs(queue) };
                if result.is_err() {
                    queue.close();
                }
                result
            }
        };
        let lanes: Vec<_> = (0..lanes).map(|number| scope.spawn(lane(number == 0))).collect();
        let ended: Vec<_> = lanes.into_iter().map(thread::ScopedJoinHandle::join).collect();
        ended
            .into_iter()
            .map(|lane| lane.map_err(|_| anyhow!("a check panicked"))?)
            .collect::<Result<Vec<_>>>()
    })?;
    Ok(closing.concat())
}

/// What only cargo can run, with so many `jobs` at once, and test programs after that.
fn lane_of_cargo(queue: &Queue, jobs: usize) -> Result<Vec<String>> {
    lints(jobs)?;
    let mut closing = step("examples in the documentation", || doc_tests(jobs))?;
    closing.push(step("a crate outside the workspace", || outside_crate(jobs))?);
    closing.extend(test_programs(queue)?);
    Ok(closing)
}

/// Runs programs until none waits.
fn test_programs(queue: &Queue) -> Result<Vec<String>> {
    let mut closing = Closing::default();
    while let Some(outcome) = queue.run_next()? {
        write_lines(&outcome.lines)?;
        outcome.lines.iter().for_each(|line| closing.read(line));
        if !outcome.passed {
            bail!("the tests of `{}` failed", outcome.name);
        }
    }
    Ok(closing.lines)
}

fn doc_tests(jobs: usize) -> Result<Vec<String>> {
    let mut command = workspace::cargo();
    command.args(["test", "--workspace", "--all-features", "--doc", "--jobs", &jobs.to_string()]);
    let (mut closing, mut lines) = (Closing::default(), Vec::new());
    let status = run_merged(command, |line| {
        closing.read(line);
        lines.push(line.to_owned());
        Ok(())
    })?;
    write_lines(&lines)?;
    if !status.success() {
        bail!("`cargo test --doc`: {status}");
    }
    Ok(closing.lines)
}

/// Lines that stay together.
fn write_lines(lines: &[String]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}")).context("cannot write to standard output")
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn lints(jobs: usize) -> Result<()> {
    step("cargo clippy", || {
        let mut command = workspace::cargo();
        command.args(["clippy", "--workspace", "--all-targets", "--all-features"]);
        command.args(["--jobs", &jobs.to_string(), "--", "-D", "warnings"]);
        quietly(&mut command)
    })
}

/// Runs one of the checks under a heading, and tells how long it took.
fn step<T>(name: &str, check: impl FnOnce() -> Result<T>) -> Result<T> {
    note(&format!("== {name}"));
    let started = Instant::now();
    let result = check();
    let ending = if result.is_ok() { "passed in" } else { "failed after" };
    note(&format!("== {name}: {ending} {:.0} s", started.elapsed().as_secs_f64()));
    result.with_context(|| format!("{name} failed"))
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let status = process::run(workspace::cargo().args(arguments))?;
    if !status.success() {
        bail!("`cargo {}`: {status}", arguments.join(" "));
    }
    Ok(())
}

/// Runs a command whose output is of interest only when it fails.
fn quietly(command: &mut Command) -> Result<()> {
    let mut output = Vec::new();
    let status = run_lines(command, |_, line| {
        output.push(line.to_owned());
        Ok(())
    })?;
    if !status.success() {
        output.iter().for_each(|line| note(line));
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        bail!("`cargo {}`: {status}", arguments.join(" "));
    }
    Ok(())
}

/// The closing lines of test programs, each with the program's name.
#[derive(Debug, Default)]
struct Closing {
    program: String,
    lines: Vec<String>,
}

impl Closing {
    fn read(&mut self, line: &str) {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("Running ") {
            // `Running unittests src/lib.rs (target/debug/deps/gen_core-0123456789abcdef)`
            let file = rest.rsplit(['/', '(']).next().unwrap_or(rest).trim_end_matches(')');
            file.rsplit_once('-').map_or(file, |(name, _)| name).clone_into(&mut self.program);
        } else if let Some(name) = line.strip_prefix("Doc-tests ") {
            self.program = format!("{name} (documentation)");
        } else if line.starts_with("test result: ") {
            self.lines.push(format!("{:<32} {line}", self.program));
        }
    }
}

/// Builds `tests/outside-crate` outside the workspace with nothing but the lines that `setup --print-config`
/// prints, and starts what was built without any variable set.
fn outside_crate(jobs: usize) -> Result<String> {
    let config = setup::config()?;
    let folder = std::env::temp_dir().join(format!("gen-outside-crate-{}", std::process::id()));
    let result = prepare(&folder, &config).and_then(|()| build_and_start(&folder, jobs));
    let _ = fs::remove_dir_all(&folder);
    result
}

fn prepare(folder: &Path, config: &setup::Config) -> Result<()> {
    let template = workspace::root().join("tests/outside-crate");
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))
    };
    let read = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
    // The manifest ends with the section of its dependencies.
    let manifest = read(&template.join("Cargo.toml"))?;
    write("Cargo.toml", &format!("{manifest}{}\n", config.dependency))?;
    write(".cargo/config.toml", &(config.settings.join("\n") + "\n"))?;
    write("src/main.rs", &read(&template.join("src/main.rs"))?)?;
    // The same versions as in the workspace, so that nothing has to be looked up.
    write("Cargo.lock", &read(&workspace::root().join("Cargo.lock"))?)
}

fn build_and_start(folder: &Path, jobs: usize) -> Result<String> {
    // Kept between runs: its torch-sys is another than the workspace's, since the compiler's flags differ.
    let target = workspace::root().join("target/outside");
    let mut build = Command::new(workspace::cargo_program());
    build.current_dir(folder).args(["build", "--jobs", &jobs.to_string(), "--target-dir"]).arg(&target);
    quietly(without_variables(&mut build))?;
    let mut lines = Vec::new();
    let mut program = Command::new(target.join("debug/outside-crate"));
    let status = run_lines(without_variables(program.current_dir(folder)), |_, line| {
        note(line);
        lines.push(line.to_owned());
        Ok(())
    })?;
    if !status.success() {
        bail!("the program built outside the workspace: {status}");
    }
    lines.pop().context("the program built outside the workspace says nothing")
}

/// The environment of a user who has set nothing.
fn without_variables(command: &mut Command) -> &mut Command {
    const SET_BY_US: [&str; 6] = [
        "LIBTORCH",
        "LIBTORCH_USE_PYTORCH",
        "LD_LIBRARY_PATH",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
    ];
    for name in SET_BY_US {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_carry_the_names_of_their_programs() {
        let output = "     Running unittests src/lib.rs (target/debug/deps/gen_core-0123456789abcdef)\n\
                      test a ... ok\n\
                      test result: ok. 1 passed; 0 failed\n\
                      \x20  Doc-tests gen_core\n\
                      test result: ok. 3 passed; 0 failed\n";
        let mut closing = Closing::default();
        output.lines().for_each(|line| closing.read(line));
        let lines: Vec<String> =
            closing.lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "gen_core test result: ok. 1 passed; 0 failed",
                "gen_core (documentation) test result: ok. 3 passed; 0 failed"
            ]
        );
    }

    #[test]
    fn the_outside_crate_gets_the_printed_lines() {
        let folder = tempfile::tempdir().unwrap();
        let config = setup::Config {
            dependency: "gen-flow = { path = \"/x\" }".to_owned(),
            settings: ["env.LIBTORCH = \"/y\"".to_owned(), "build.rustflags = []".to_owned()],
        };
        prepare(folder.path(), &config).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
        assert_eq!(manifest["dependencies"]["gen-flow"]["path"].as_str(), Some("/x"));
        assert_eq!(manifest["dependencies"].as_table().unwrap().len(), 1);
        let settings: toml::Table = toml::from_str(&read(".cargo/config.toml")).unwrap();
        assert_eq!(settings["env"]["LIBTORCH"].as_str(), Some("/y"));
    }
}
