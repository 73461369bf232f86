//! One run of an experiment: skipped, resumed or started.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};
use gen_report::{ERROR_FILE, evaluation, write_atomically};

use super::job::{Job, Kind, Outcome};
use super::plan::Plan;
use super::progress::Progress;
use crate::process::{Stream, run_lines};

/// Runs a job, unless it is done. A failure of `gen` is an outcome; after an error no job can run.
pub(super) fn run(job: &Job, plan: &Plan, program: &Path, progress: &mut Progress) -> Result<Outcome> {
    if job.is_done() {
        return Ok(Outcome::Skipped);
    }
    let error_file = job.folder.join(ERROR_FILE);
    if error_file.exists() {
        fs::remove_file(&error_file).with_context(|| error_file.display().to_string())?;
    }
    let mut log = Log::new(&job.folder);
    for arguments in commands(job, plan) {
        progress.stage(&arguments[0]);
        let mut command = Command::new(program);
        command.args(&arguments);
        log.line(&format!("$ gen {}", arguments.join(" ")))?;
        let mut errors = Vec::new();
        let status = run_lines(command, |stream, line| {
            progress.line(line);
            if stream == Stream::Err {
                remember(&mut errors, line);
            }
            log.line(line)
        });
        log.end()?;
        let status = status?;
        if !status.success() {
            return fail(job, reason(&errors, status));
        }
    }
    match evaluation(&job.folder) {
        Ok(Some(_)) => Ok(Outcome::Done),
        Ok(None) => fail(job, "gen evaluate wrote no evaluation.csv".to_owned()),
        Err(error) => fail(job, format!("{error:#}")),
    }
}

fn commands(job: &Job, plan: &Plan) -> Vec<Vec<String>> {
    let folder = job.folder.to_string_lossy().into_owned();
    let mut evaluate = vec!["evaluate".to_owned()];
    match &job.kind {
        Kind::Train { model, seed } => {
            let mut train = plan.train_arguments(model, *seed);
            // A run that has begun continues from its checkpoint; for a finished run that does nothing.
            if job.folder.join("config.toml").exists() {
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

/// Writes the reason into the file that the report reads.
fn fail(job: &Job, reason: String) -> Result<Outcome> {
    fs::create_dir_all(&job.folder).with_context(|| job.folder.display().to_string())?;
    write_atomically(&job.folder.join(ERROR_FILE), format!("{reason}\n").as_bytes())?;
    Ok(Outcome::Failed(reason))
}

/// Everything that a child prints. The child makes the folder, so lines wait until it is there.
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

    /// Writes the waiting lines, even if the child has made no folder.
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

/// The output of `gen` with these arguments; an error with its message if it fails.
pub(super) fn output_of<T: AsRef<OsStr>>(program: &Path, arguments: &[T]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
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

/// Keeps the last lines of a child's standard error.
fn remember(errors: &mut Vec<String>, line: &str) {
    const KEPT: usize = 20;
    if errors.len() == KEPT {
        errors.remove(0);
    }
    errors.push(line.to_owned());
}

/// The reason of a failure: the child's error message, otherwise its last line, otherwise its exit status.
fn reason(errors: &[String], status: ExitStatus) -> String {
    let message = |line: &&String| ["gen: ", "error: "].iter().any(|prefix| line.starts_with(prefix));
    // The backtrace hint of a panic and the help hint of a wrong call do not tell the reason.
    let is_reason = |line: &&String| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with("note: ") && !line.starts_with("For more information")
    };
    let found = errors.iter().rev().find(message).or_else(|| errors.iter().rev().find(is_reason));
    let line = found.map_or("", |line| line.trim());
    let line = line.strip_prefix("gen: ").or_else(|| line.strip_prefix("error: ")).unwrap_or(line);
    match status.code() {
        Some(_) if !line.is_empty() => line.to_owned(),
        Some(code) => format!("exit code {code}, without a message"),
        // If memory runs out, the system ends the process without a message.
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
        let reason_of = |text: &str, status| reason(&text.lines().map(str::to_owned).collect::<Vec<_>>(), status);
        assert_eq!(reason_of("50%  step 3\ngen: the loss `g` is NaN\n", exit(1)), "the loss `g` is NaN");
        let clap = "error: invalid value '0s' for '--budget'\n\nFor more information, try '--help'.";
        assert_eq!(reason_of(clap, exit(2)), "invalid value '0s' for '--budget'");
        let panic = "thread 'main' panicked at src/x.rs:1:2:\nindex out of bounds\nnote: run with RUST_BACKTRACE=1";
        assert_eq!(reason_of(panic, exit(101)), "index out of bounds");
        assert_eq!(reason_of("", exit(3)), "exit code 3, without a message");
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
