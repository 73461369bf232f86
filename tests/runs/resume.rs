//! Interrupted runs: wherever and however a run is stopped, it can be resumed and ends with the same bytes.

#![cfg(unix)]
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gen_core::rng::{Purpose, derive};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A model, a data set, and settings that make it small.
struct Case {
    model: &'static str,
    data: &'static str,
    settings: &'static [&'static str],
}

const CASES: [Case; 12] = [
    Case {
        model: "quick-gan",
        data: "digits",
        settings: &["latent_dim=4", "generator_width=4", "discriminator_width=4", "ema_decay=0.9"],
    },
    Case {
        model: "quick-gan",
        data: "moons",
        settings: &["latent_dim=2", "generator_width=8", "discriminator_width=8", "ema_decay=0.9"],
    },
    Case {
        model: "quick-vae",
        data: "digits",
        settings: &["latent_dim=4", "widths=[4]", "prior.layers=1", "warmup_steps=9"],
    },
    Case { model: "quick-vae", data: "moons", settings: &["widths=[8]", "prior.layers=2", "binarise=\"none\""] },
    Case { model: "ae", data: "digits", settings: &["latent_dim=4", "widths=[4]", "flip=true"] },
    Case { model: "ae", data: "moons", settings: &["widths=[8]", "ema_decay=0"] },
    Case {
        model: "quick-flow",
        data: "digits",
        settings: &["scales=1", "couplings=2", "width=4", "dense_couplings=1", "dense_width=8"],
    },
    Case {
        model: "nsf",
        data: "digits",
        settings: &["scales=1", "spline_couplings=3", "spline_width=4", "couplings=1", "dense_couplings=0"],
    },
    Case { model: "quick-flow", data: "moons", settings: &["couplings=2", "hidden=[8]", "ema_decay=0.9"] },
    Case {
        model: "quick-flow",
        data: "moons",
        settings: &[
            "couplings=2",
            "hidden=[8]",
            "optimizer.learning_rate=0.03",
            "schedule=\"constant\"",
            "validate_every=7",
            "patience=3",
        ],
    },
    Case {
        model: "quick-diffusion",
        data: "digits",
        settings: &["channels=[8,8]", "sampling.sampler.steps=2", "dropout=0.1"],
    },
    Case { model: "quick-diffusion", data: "moons", settings: &["width=8", "blocks=1", "sampling.sampler.steps=2"] },
];

/// Each model is stopped about twenty times.
const STOPS: usize = 10;
const STEPS: &str = "151steps";

impl Case {
    /// Starts the run, or resumes it if it has begun.
    fn command(&self, run: &Path) -> Command {
        let mut command = train(self.model, self.data, STEPS, run);
        command.args(["--checkpoint-every", "23steps", "--set", "batch_size=8", "--set", "log_every=10"]);
        for setting in self.settings {
            command.args(["--set", setting]);
        }
        command
    }

    /// Stops the run at random moments, and resumes it each time, until it is done.
    fn stop_and_resume(&self, seed: u64, folder: &Path) {
        let name = format!("{} on {}", self.model, self.data);
        let whole = folder.join("whole");
        let started = Instant::now();
        let output = self.command(&whole).output().unwrap();
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        let duration = started.elapsed();
        let expected = outcome(&whole);
        // A header and a row each tenth if the model has a validation loss, or each seventh step until patience ends.
        let validations = match self.model {
            "quick-gan" => 0..=0,
            _ if self.settings.contains(&"patience=3") => 5..=22,
            _ => 11..=11,
        };
        assert!(validations.contains(&expected.validation.len()), "{name}: {:?}", expected.validation);
        assert_eq!(expected.best.is_some(), self.model != "quick-gan", "{name}");

        let run = folder.join("stopped");
        let mut stopped = 0;
        for attempt in 0.. {
            if stopped == STOPS {
                break;
            }
            let random = derive(seed, Purpose::Data, attempt);
            let signal = [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM][(random % 3) as usize];
            let mut child = start(self.command(&run));
            std::thread::sleep(duration.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64));
            send(&child, signal);
            let _ = child.try_wait();
            let output = child.wait_with_output().unwrap();
            if was_stopped(output.status, signal) {
                stopped += 1;
            } else {
                // The run ended before the signal came.
                assert!(output.status.success(), "{name}: {:?} {}", output.status, stderr(&output));
                assert_eq!(outcome(&run), expected, "{name}");
                fs::remove_dir_all(&run).unwrap();
            }
        }
        let output = self.command(&run).output().unwrap();
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        assert_eq!(outcome(&run), expected, "{name}");
    }
}

/// `gen train`, with `--resume` if the run has begun.
fn train(model: &str, data: &str, budget: &str, run: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("gen"));
    command.env("GEN_DATA", std::env::temp_dir().join("gen-tests-without-data"));
    command.args(["train", model, "--data", data, "--budget", budget, "--threads", "1"]);
    command.args(["--progress", "none", "--out"]).arg(run);
    if run.join("config.toml").exists() {
        command.arg("--resume");
    }
    command
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The child is waited for later, so its number cannot belong to another process.
fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// Whether a signal ended the process: at once, or after it had saved its state.
fn was_stopped(status: ExitStatus, signal: Signal) -> bool {
    status.signal() == Some(signal as i32) || status.code() == Some(128 + signal as i32)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The files of a run by path, without those that contain times.
#[derive(Debug, PartialEq)]
struct Outcome {
    history: Vec<String>,
    validation: Vec<String>,
    best: Option<u64>,
    files: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

fn outcome(run: &Path) -> Outcome {
    let mut files = BTreeMap::new();
    collect(run, Path::new(""), &mut files);
    Outcome {
        // seconds, cpu_seconds, images_per_second, rss_mib
        history: without(&[2, 3, 4, 6], &run.join("history.csv")),
        // seconds, validation_seconds
        validation: without(&[2, 3], &run.join("validation.csv")),
        best: step_of(&run.join("checkpoint/best")),
        files,
    }
}

/// The rows of a table without some of its columns; no rows if there is no table.
fn without(columns: &[usize], table: &Path) -> Vec<String> {
    let text = fs::read_to_string(table).unwrap_or_default();
    let line = |line: &str| {
        let cells = line.split(',').enumerate().filter(|(i, _)| !columns.contains(i));
        cells.map(|(_, cell)| cell).collect::<Vec<_>>().join(",")
    };
    text.lines().map(line).collect()
}

fn collect(run: &Path, under: &Path, files: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
    for entry in fs::read_dir(run.join(under)).unwrap() {
        let entry = entry.unwrap();
        let path = under.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            collect(run, &path, files);
            continue;
        }
        // The step of the previous checkpoint depends on where the run was stopped.
        let compared = ["safetensors", "png"].iter().any(|kind| path.extension().is_some_and(|e| e == *kind))
            && !path.starts_with("checkpoint/previous");
        files.insert(path.clone(), compared.then(|| fs::read(run.join(&path)).unwrap()));
    }
}

#[test]
fn every_model_ends_with_the_same_bytes_wherever_it_is_stopped() {
    let temp = tempfile::tempdir().unwrap();
    // Each has processes of its own, so two of them can run at once.
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((i, case)) = CASES.iter().enumerate().nth(next.fetch_add(1, Ordering::SeqCst)) {
                    case.stop_and_resume(i as u64, &temp.path().join(i.to_string()));
                }
            });
        }
    });
}

/// Waits for a result of a child.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(120), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A run that takes longer than any test, saves often, and has begun.
fn endless(run: &Path) -> Command {
    let mut command = train("ae", "moons", "1000000steps", run);
    // A row of the history is hours away.
    command.args(["--set", "widths=[8]", "--set", "log_every=500000", "--checkpoint-every", "100steps"]);
    command
}

fn latest(run: &Path) -> PathBuf {
    run.join("checkpoint/latest")
}

/// The step of a checkpoint; `None` while the program renames its folder.
fn step_of(checkpoint: &Path) -> Option<u64> {
    let text = fs::read_to_string(checkpoint.join("checkpoint.toml")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("step = ")?.parse().ok())
}

#[test]
fn the_first_signal_saves_says_how_to_go_on_and_keeps_the_row_that_has_begun() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    let mut before = 0;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let child = start(endless(&run));
        wait_until("the next checkpoint", || step_of(&latest(&run)).is_some_and(|step| step > before));
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(128 + signal as i32));
        let said = stderr(&output);
        let last = said.lines().last().unwrap();
        let step = step_of(&latest(&run)).unwrap();
        assert!(last.starts_with(&format!("gen: interrupted at step {step} (")), "{said}");
        assert!(last.contains("--resume"), "{said}");
        assert!(step > before);
        before = step;
    }
    assert!(!run.join("history.csv").exists(), "no row is complete");
    let manifest = fs::read_to_string(latest(&run).join("checkpoint.toml")).unwrap();
    assert!(manifest.contains("[row.losses.grad_norm]\nsum = "), "{manifest}");
}

#[test]
fn a_signal_is_caught_from_the_moment_that_there_is_a_folder() {
    let temp = tempfile::tempdir().unwrap();
    for attempt in 0..5 {
        let run = temp.path().join(attempt.to_string());
        let mut child = start(endless(&run));
        while !run.exists() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it began");
        }
        send(&child, Signal::SIGTERM);
        assert_eq!(child.wait().unwrap().code(), Some(128 + Signal::SIGTERM as i32));
        assert!(step_of(&latest(&run)).is_some_and(|step| step > 0), "one step is taken, and kept");
    }
}

#[test]
fn a_second_signal_ends_the_program_within_a_step() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    // A step takes seconds.
    let slow = || {
        let mut command = train("ae", "moons", "1000000steps", &run);
        command.args(["--set", "widths=[2048,2048]", "--set", "batch_size=4000"]);
        command
    };
    let mut child = start(slow());
    wait_until("the run's folder", || run.join("config.toml").exists());
    child.kill().unwrap();
    child.wait().unwrap();

    let mut child = start(slow());
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "resuming at step 0");
    while child.try_wait().unwrap().is_none() {
        send(&child, Signal::SIGINT);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(lines.count(), 0, "it had no time to say anything");
    assert!(!run.join("checkpoint").exists(), "nor to save anything");
}

#[test]
fn one_process_trains_in_a_folder() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    let mut first = start(endless(&run));
    wait_until("a checkpoint", || latest(&run).exists());
    let second = endless(&run).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = stderr(&second);
    assert!(said.contains("another process is training in") && said.lines().count() == 1, "{said}");
    // The folder is free however the first process ends.
    first.kill().unwrap();
    first.wait().unwrap();
    let third = start(endless(&run));
    let step = step_of(&latest(&run));
    wait_until("the next checkpoint", || step_of(&latest(&run)) > step);
    send(&third, Signal::SIGINT);
    assert_eq!(third.wait_with_output().unwrap().status.code(), Some(130));
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before_with_a_warning() {
    let temp = tempfile::tempdir().unwrap();
    let case = &CASES[2];
    let [whole, damaged] = ["whole", "damaged"].map(|name| temp.path().join(name));
    for run in [&whole, &damaged] {
        assert!(case.command(run).output().unwrap().status.success());
    }
    let before = step_of(&damaged.join("checkpoint/previous")).unwrap();
    let weights = latest(&damaged).join("weights.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();

    let mut sample = Command::new(assert_cmd::cargo::cargo_bin!("gen"));
    sample.arg("sample").arg(&damaged).arg("--out").arg(temp.path().join("x.png"));
    for mut command in [sample, case.command(&damaged)] {
        let output = command.output().unwrap();
        let said = stderr(&output);
        assert!(output.status.success(), "{said}");
        let warning = said.lines().find(|line| line.starts_with("warning: ")).unwrap();
        assert!(warning.contains("latest/weights.safetensors: not a whole checkpoint file"), "{said}");
        assert!(warning.ends_with(&format!("the checkpoint of step {before} is used instead")), "{said}");
    }
    assert_eq!(outcome(&damaged), outcome(&whole));
}

#[test]
fn another_number_of_threads_is_a_warning_since_it_changes_the_last_digits() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    let start = || {
        let mut command = train("ae", "moons", "1steps", &run);
        command.args(["--set", "widths=[8]"]);
        stderr(&command.output().unwrap())
    };
    let _ = start();
    assert!(!start().contains("warning"));
    let config = run.join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("threads = 1", "threads = 7")).unwrap();
    let said = start();
    assert!(said.contains("warning: this run was started with --threads 7, now 1"), "{said}");
}

/// Two networks, two optimizers, an average.
#[test]
fn memory_stays_level_over_ten_thousand_steps() {
    let temp = tempfile::tempdir().unwrap();
    let (case, run) = (&CASES[1], temp.path().join("run"));
    let mut command = train(case.model, case.data, "10000steps", &run);
    command.args(["--set", "batch_size=8", "--set", "log_every=500"]);
    for setting in case.settings {
        command.args(["--set", setting]);
    }
    assert!(command.output().unwrap().status.success());
    let history = fs::read_to_string(run.join("history.csv")).unwrap();
    let rss = history.lines().skip(1).map(|row| row.split(',').nth(6).unwrap().parse::<f64>().unwrap());
    let rss: Vec<f64> = rss.collect();
    // The allocator returns the memory of the start at any time, so a single row may be low or high.
    let largest = |rows: &[f64]| rows.iter().copied().fold(0.0, f64::max);
    let (first, later) = (largest(&rss[..5]), largest(&rss[5..]));
    assert!(later < 1.02 * first, "{first} MiB in the first 2500 steps, later {later} MiB");
}
