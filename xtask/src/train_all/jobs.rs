//! One run of an experiment: skipped, resumed or started, and what became of it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};

use super::plan::Plan;
use super::progress::Progress;

use crate::process::{Stream, run_lines};
use gen_report::{ERROR_FILE, REFERENCE_PREFIX, evaluation, write_atomically};

/// A row of the summary to be.
#[derive(Debug)]
pub(super) struct Job {
    folder: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Train { model: String, seed: u64 },
    Reference(String),
}

/// What became of a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was done before.
    Skipped,
    Done,
    /// Why.
    Failed(String),
}

impl Job {
    pub(super) fn train(folder: PathBuf, model: &str, seed: u64) -> Self {
        Job { folder, kind: Kind::Train { model: model.to_owned(), seed } }
    }

    pub(super) fn reference(experiment: &Path, name: &str) -> Self {
        let folder = experiment.join(format!("{REFERENCE_PREFIX}{name}"));
        Job { folder, kind: Kind::Reference(name.to_owned()) }
    }

    pub(super) fn is_training(&self) -> bool {
        matches!(self.kind, Kind::Train { .. })
    }

    /// The name of its folder.
    pub(super) fn name(&self) -> &str {
        self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Whether there is an evaluation that can be read.
    pub(super) fn is_done(&self) -> bool {
        matches!(evaluation(&self.folder), Ok(Some(_)))
    }

    /// Runs it, unless it is done. What `gen` cannot do is an outcome; an error is what nothing can go on after.
    pub(super) fn run(&self, plan: &Plan, program: &Path, progress: &mut Progress) -> Result<Outcome> {
        if self.is_done() {
            return Ok(Outcome::Skipped);
        }
        let error_file = self.folder.join(ERROR_FILE);
        if error_file.exists() {
            fs::remove_file(&error_file).with_context(|| error_file.display().to_string())?;
        }
        let mut log = Log::new(&self.folder);
        for arguments in self.commands(plan) {
            progress.stage(&arguments[0]);
            let mut command = Command::new(program);
            command.args(&arguments);
            log.line(&format!("$ gen {}", arguments.join(" ")))?;
            let mut errors = Vec::new();
            let status = run_lines(&mut command, |stream, line| {
                progress.line(line);
                if stream == Stream::Err {
                    remember(&mut errors, line);
                }
                log.line(line)
            });
            log.end()?;
            let status = status?;
            if !status.success() {
                return self.fail(reason(&errors, status));
            }
        }
        match evaluation(&self.folder) {
            Ok(Some(_)) => Ok(Outcome::Done),
            Ok(None) => self.fail("gen evaluate wrote no evaluation.csv".to_owned()),
            Err(error) => self.fail(format!("{error:#}")),
        }
    }

    fn commands(&self, plan: &Plan) -> Vec<Vec<String>> {
        let folder = self.folder.to_string_lossy().into_owned();
        let mut evaluate = vec!["evaluate".to_owned()];
        match &self.kind {
            Kind::Train { model, seed } => {
                let mut train = plan.train_arguments(model, *seed);
                // A run that has begun goes on from its checkpoint; a finished one has nothing to do there.
                if self.folder.join("config.toml").exists() {
                    train.push("--resume".to_owned());
                }
                evaluate.push(folder);
                evaluate.extend(plan.evaluate_arguments());
                vec![train, evaluate]
            }
            Kind::Reference(name) => {
                let options = ["--reference", name, "--data", &plan.data, "--out", &folder];
                evaluate.extend(options.iter().map(|option| (*option).to_owned()));
                evaluate.extend(plan.evaluate_arguments());
                vec![evaluate]
            }
        }
    }

    /// Leaves the reason where the report finds it.
    fn fail(&self, reason: String) -> Result<Outcome> {
        fs::create_dir_all(&self.folder).with_context(|| self.folder.display().to_string())?;
        write_atomically(&self.folder.join(ERROR_FILE), format!("{reason}\n").as_bytes())?;
        Ok(Outcome::Failed(reason))
    }
}

/// All that a child printed. The folder is the child's to make, so lines wait until it is there.
struct Log {
    path: PathBuf,
    waiting: String,
    file: Option<File>,
}

impl Log {
    fn new(folder: &Path) -> Self {
        Log { path: folder.join("log.txt"), waiting: String::new(), file: None }
    }

    fn line(&mut self, line: &str) -> Result<()> {
        self.waiting.push_str(line);
        self.waiting.push('\n');
        if self.path.parent().is_some_and(Path::is_dir) { self.flush() } else { Ok(()) }
    }

    /// Writes what is waiting, also when the child made no folder.
    fn end(&mut self) -> Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        let context = || format!("cannot write {}", self.path.display());
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().create(true).append(true).open(&self.path);
                self.file.insert(file.with_context(context)?)
            }
        };
        file.write_all(self.waiting.as_bytes()).with_context(context)?;
        self.waiting.clear();
        Ok(())
    }
}

/// The output of a command that should succeed; its error is what it said last.
pub(super) fn output_of(command: &mut Command) -> Result<String> {
    let (mut output, mut errors) = (String::new(), Vec::new());
    let status = run_lines(command, |stream, line| {
        match stream {
            Stream::Out => output.extend([line, "\n"]),
            Stream::Err => remember(&mut errors, line),
        }
        Ok(())
    })?;
    if !status.success() {
        bail!(reason(&errors, status));
    }
    Ok(output)
}

/// Keeps the last lines of what a child says on standard error.
fn remember(errors: &mut Vec<String>, line: &str) {
    const KEPT: usize = 20;
    if errors.len() == KEPT {
        errors.remove(0);
    }
    errors.push(line.to_owned());
}

/// Why a child failed: its error message, or else its last line, or else how it ended.
fn reason(errors: &[String], status: ExitStatus) -> String {
    let message = |line: &&String| ["gen: ", "error: "].iter().any(|prefix| line.starts_with(prefix));
    // The backtrace hint of a panic and the usage of a wrong call say nothing of why.
    let telling = |line: &&String| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with("note: ") && !line.starts_with("For more information")
    };
    let found = errors.iter().rev().find(message).or_else(|| errors.iter().rev().find(telling));
    let line = found.map_or("", |line| line.trim());
    let line = line.strip_prefix("gen: ").or_else(|| line.strip_prefix("error: ")).unwrap_or(line);
    match status.code() {
        Some(_) if !line.is_empty() => line.to_owned(),
        Some(code) => format!("exit code {code}, without a word"),
        // Nobody says that memory has run out: the system just ends the process.
        None if line.is_empty() => format!("{status}"),
        None => format!("{status}, after: {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_reason_is_the_message_among_the_last_lines() {
        use std::os::unix::process::ExitStatusExt;
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        let reason_of =
            |text: &str, status| reason(&text.lines().map(str::to_owned).collect::<Vec<_>>(), status);
        assert_eq!(reason_of("50%  step 3\ngen: the loss `g` is NaN\n", exit(1)), "the loss `g` is NaN");
        let clap = "error: invalid value '0s' for '--budget'\n\nFor more information, try '--help'.";
        assert_eq!(reason_of(clap, exit(2)), "invalid value '0s' for '--budget'");
        let panic =
            "thread 'main' panicked at src/x.rs:1:2:\nindex out of bounds\nnote: run with RUST_BACKTRACE=1";
        assert_eq!(reason_of(panic, exit(101)), "index out of bounds");
        assert_eq!(reason_of("", exit(3)), "exit code 3, without a word");
        assert!(reason_of("12%  step 9", ExitStatus::from_raw(9)).contains("signal: 9"));
    }

    #[test]
    fn the_log_waits_for_the_folder() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("run");
        let mut log = Log::new(&folder);
        log.line("before").unwrap();
        assert!(!folder.exists());
        fs::create_dir(&folder).unwrap();
        log.line("after").unwrap();
        log.end().unwrap();
        assert_eq!(fs::read_to_string(folder.join("log.txt")).unwrap(), "before\nafter\n");
    }
}
