//! `cargo xtask test --sanitize`: gen-native's tests in builds that a sanitizer watches.
//!
//! The C++ of gen-native is compiled with a sanitizer of GCC, which needs no support from Rust's compiler, and the
//! tests load the library of the sanitizer first. They run once with each set of instructions that the processor has.
//! Then planted faults must be reported, since a sanitizer that sees nothing would pass everything.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use gen_report::aligned;

use super::closing::Closing;
use crate::process::run_merged;
use crate::terminal::{self, note};
use crate::workspace;

/// Sanitizers of GCC that can be used together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Sanitizer {
    /// AddressSanitizer (memory that is not the program's, or is never freed) and UndefinedBehaviorSanitizer
    Address,
    /// ThreadSanitizer (threads that touch the same memory)
    Thread,
}

/// A test of `tests/sanitizers.rs`, and two parts of the report that it must cause.
type Fault = (&'static str, [&'static str; 2]);

impl Sanitizer {
    /// The name in build.rs.
    fn name(self) -> &'static str {
        match self {
            Sanitizer::Address => "address",
            Sanitizer::Thread => "thread",
        }
    }

    /// Everything that it looks for.
    fn title(self) -> &'static str {
        match self {
            Sanitizer::Address => "address, undefined",
            Sanitizer::Thread => "thread",
        }
    }

    /// The library that must be loaded before all others.
    fn library(self) -> &'static str {
        match self {
            Sanitizer::Address => "libasan.so",
            Sanitizer::Thread => "libtsan.so",
        }
    }

    /// Its options, in environment variables.
    fn options(self) -> Vec<(&'static str, String)> {
        match self {
            Sanitizer::Address => vec![
                ("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1".to_owned()),
                ("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1".to_owned()),
            ],
            Sanitizer::Thread => {
                let names = workspace::root().join("crates/gen-native/native/sanitize/threads.txt");
                vec![("TSAN_OPTIONS", format!("print_suppressions=0:suppressions={}", names.display()))]
            }
        }
    }

    fn faults(self) -> &'static [Fault] {
        match self {
            Sanitizer::Address => &[
                ("beyond", ["AddressSanitizer: heap-buffer-overflow", "flow/kernels.inc"]),
                ("freed", ["AddressSanitizer: heap-use-after-free", "flow/kernels.inc"]),
                ("lost", ["LeakSanitizer: detected memory leaks", "gn_fault_lost"]),
                ("neither", ["runtime error: load of value 2", "flow/kernels.inc"]),
            ],
            Sanitizer::Thread => &[("race", ["ThreadSanitizer: data race", "flow/kernels.inc"])],
        }
    }
}

const ALL: [Sanitizer; 2] = [Sanitizer::Address, Sanitizer::Thread];

/// Values of GEN_INSTRUCTIONS that make a difference on this processor.
fn instruction_sets() -> Vec<&'static str> {
    let mut sets = vec!["libtorch", "portable"];
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx2") && has!("fma") {
            sets.push("avx2");
        }
        if has!("avx512f") {
            sets.push("avx512");
        }
        if has!("avx512f") && has!("avx512bf16") && has!("avx512bw") && has!("avx512vl") {
            sets.push("avx512-bf16");
        }
    }
    sets
}

/// Runs the tests under `sanitizers`, or all; `arguments` are for `cargo test`.
pub(super) fn run(sanitizers: &[Sanitizer], arguments: &[String]) -> Result<()> {
    let sanitizers = if sanitizers.is_empty() { &ALL } else { sanitizers };
    let (mut rows, mut sound) = (Vec::new(), true);
    for &sanitizer in sanitizers {
        let build = Build::new(sanitizer)?;
        for set in instruction_sets() {
            let result = build.check(set, arguments)?;
            sound &= result.is_sound();
            rows.push([sanitizer.title().to_owned(), set.to_owned(), result.to_string()]);
        }
    }
    terminal::print(["", aligned(rows, |column| column >= 3).trim_end()])?;
    if !sound {
        bail!("a sanitizer reported something, a test failed, or a planted fault was not reported");
    }
    Ok(())
}

/// The result of the tests with one set of instructions.
#[derive(Debug, Default)]
struct Outcome {
    passed: usize,
    failed: usize,
    reports: usize,
    ended_well: bool,
    planted: usize,
    found: usize,
    seconds: f64,
}

impl Outcome {
    fn is_sound(&self) -> bool {
        self.ended_well && self.failed == 0 && self.reports == 0 && self.found == self.planted && self.passed > 0
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.is_sound() { "ok" } else { "FAILED" };
        let Outcome { passed, failed, reports, planted, found, seconds, .. } = self;
        write!(
            f,
            "{verdict}: {passed} passed; {failed} failed; {reports} reports; \
             {found} of {planted} planted faults reported; {seconds:.0} s"
        )
    }
}

/// The crate and its tests, compiled for a sanitizer in a folder of its own.
struct Build {
    sanitizer: Sanitizer,
    folder: PathBuf,
    runner: String,
}

impl Build {
    fn new(sanitizer: Sanitizer) -> Result<Self> {
        let library = library(sanitizer)?;
        let folder = workspace::root().join("target/sanitize").join(sanitizer.name());
        Ok(Build { sanitizer, folder, runner: runner(&library)? })
    }

    fn cargo_test(&self, set: &str) -> Command {
        let mut command = workspace::cargo();
        command.args(["test", "--package", "gen-native", "--no-fail-fast", "--target-dir"]).arg(&self.folder);
        command.args(["--config", &self.runner]);
        command.env("GEN_SANITIZE", self.sanitizer.name()).env("GEN_INSTRUCTIONS", set);
        // Races need more than one thread. Waiting threads leave their core to others.
        command.env("OMP_NUM_THREADS", "4").env("OMP_WAIT_POLICY", "passive");
        command.envs(self.sanitizer.options());
        command
    }

    fn check(&self, set: &str, arguments: &[String]) -> Result<Outcome> {
        note(&format!("== sanitizers: {}; {set}", self.sanitizer.title()));
        let started = Instant::now();
        let mut outcome = Outcome::default();
        let mut closing = Closing::default();
        let mut command = self.cargo_test(set);
        command.args(arguments);
        let status = run_merged(command, |line| {
            terminal::print([line])?;
            closing.read(line);
            outcome.reports += usize::from(is_report(line));
            Ok(())
        })?;
        outcome.ended_well = status.success();
        for line in &closing.lines {
            outcome.passed += count(line, "passed");
            outcome.failed += count(line, "failed");
        }
        for &fault in self.sanitizer.faults() {
            outcome.planted += 1;
            outcome.found += usize::from(self.reports(set, fault)?);
        }
        outcome.seconds = started.elapsed().as_secs_f64();
        note(&format!("== sanitizers: {}; {set}: {outcome}", self.sanitizer.title()));
        Ok(outcome)
    }

    /// Whether a planted fault is reported.
    fn reports(&self, set: &str, (test, parts): Fault) -> Result<bool> {
        let mut command = self.cargo_test(set);
        command.args(["--test", "sanitizers", "--", "--ignored", "--exact", test]);
        let mut output = String::new();
        let status = run_merged(command, |line| {
            output.push_str(line);
            output.push('\n');
            Ok(())
        })?;
        let found = !status.success() && parts.iter().all(|part| output.contains(part));
        if !found {
            note(&output);
            note(&format!("the fault `{test}` was not reported with {}", parts.join(" and ")));
        }
        Ok(found)
    }
}

/// The path of the sanitizer's library, according to the compiler.
fn library(sanitizer: Sanitizer) -> Result<PathBuf> {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let name = sanitizer.library();
    let output = Command::new(&compiler).arg(format!("-print-file-name={name}")).output();
    let output = output.with_context(|| format!("cannot start {}", compiler.display()))?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    // A compiler without the library prints the bare name.
    if !path.is_absolute() {
        bail!("{} has no {name}: sanitizers need GCC on Linux and its libraries", compiler.display());
    }
    Ok(path)
}

/// The setting with which cargo starts the tests, and only them, with the library.
fn runner(library: &Path) -> Result<String> {
    let library = library.to_str().context("the path of the sanitizer's library is not text")?;
    let words = ["env".to_owned(), format!("LD_PRELOAD={library}")];
    Ok(format!("target.'cfg(all())'.runner = {}", toml::Value::from(words.to_vec())))
}

/// Whether a line begins a sanitizer's report.
fn is_report(line: &str) -> bool {
    let of_tools =
        ["ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "FATAL: ThreadSanitizer"];
    of_tools.iter().any(|start| line.contains(start)) || line.contains(": runtime error: ")
}

/// The number before a word in `test result: ok. 3 passed; 0 failed; ...`.
fn count(line: &str, word: &str) -> usize {
    let part = line.split([';', '.']).map(str::trim).find_map(|part| part.strip_suffix(word));
    part.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up() {
        let line = "native  test result: ok. 12 passed; 1 failed; 6 ignored; 0 measured; 0 filtered out";
        assert_eq!((count(line, "passed"), count(line, "failed")), (12, 1));
    }

    #[test]
    fn reports_of_all_are_known() {
        for line in [
            "==12==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x602000000054",
            "==12==ERROR: LeakSanitizer: detected memory leaks",
            "native/flow/kernels.inc:12:7: runtime error: signed integer overflow",
            "WARNING: ThreadSanitizer: data race (pid=12)",
        ] {
            assert!(is_report(line), "{line}");
        }
        assert!(!is_report("test nan_stays_with_its_statistics ... ok"));
    }

    #[test]
    fn no_test_no_report_of_a_fault_and_no_ending_is_unsound() {
        let good = || Outcome { passed: 3, ended_well: true, planted: 1, found: 1, ..Outcome::default() };
        assert!(good().is_sound());
        assert!(!Outcome { passed: 0, ..good() }.is_sound());
        assert!(!Outcome { found: 0, ..good() }.is_sound());
        assert!(!Outcome { ended_well: false, ..good() }.is_sound());
        assert!(!Outcome { reports: 1, ..good() }.is_sound());
    }

    #[test]
    fn only_the_tests_are_started_with_the_library() {
        let setting: toml::Table = runner(Path::new("/x/libasan.so")).unwrap().parse().unwrap();
        let words = setting["target"]["cfg(all())"]["runner"].as_array().unwrap();
        assert_eq!(words[1].as_str(), Some("LD_PRELOAD=/x/libasan.so"));
    }
}
