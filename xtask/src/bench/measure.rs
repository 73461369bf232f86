//! Workers, asked in turn.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::{is_final, say};
use crate::process::Worker;
use crate::workspace;

/// A model with its settings and data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) model: &'static str,
    pub(super) family: &'static str,
    pub(super) data: &'static str,
    pub(super) set: &'static [&'static str],
    /// How many samples are drawn at once.
    pub(super) samples: u64,
}

impl Case {
    pub(super) const fn new(
        name: &'static str,
        model: &'static str,
        family: &'static str,
        data: &'static str,
        samples: u64,
    ) -> Self {
        Case { name, model, family, data, set: &[], samples }
    }
}

/// What is timed of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Training steps.
    Train,
    /// Samples.
    Sample,
}

impl Task {
    pub(super) const ALL: [Task; 2] = [Task::Train, Task::Sample];

    pub(super) fn name(self) -> &'static str {
        match self {
            Task::Train => "train",
            Task::Sample => "sample",
        }
    }
}

/// Who is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Implementation {
    /// This workspace.
    Gen,
    /// This workspace, with factors rounded to bfloat16.
    GenBf16,
    /// PyTorch, as it is.
    Eager,
    /// PyTorch with `torch.compile`.
    Compiled,
}

impl Implementation {
    const PEERS: [Implementation; 2] = [Implementation::Eager, Implementation::Compiled];

    /// Those of this workspace.
    pub(super) const OURS: [Implementation; 2] = [Implementation::Gen, Implementation::GenBf16];

    pub(super) fn is_ours(self) -> bool {
        Self::OURS.contains(&self)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Implementation::Gen => "gen",
            Implementation::GenBf16 => "gen-bf16",
            Implementation::Eager => "pytorch-eager",
            Implementation::Compiled => "pytorch-compile",
        }
    }
}

/// What was found of one implementation at one task.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) case: Case,
    pub(super) task: Task,
    pub(super) implementation: Implementation,
    /// What the worker says of itself.
    pub(super) description: Value,
    /// How its training step differs from ours, where that was looked at.
    pub(super) check: Value,
    /// Why there are no times.
    pub(super) error: Option<String>,
    /// A round each: milliseconds a step, or a sample.
    pub(super) ms: Vec<f64>,
    /// The same in processor time, all threads together.
    pub(super) cpu_ms: Vec<f64>,
}

/// How everything is timed.
pub(super) struct Plan {
    pub(super) program: PathBuf,
    pub(super) python: Option<PathBuf>,
    pub(super) threads: usize,
    pub(super) rounds: u32,
    pub(super) seconds: f64,
}

/// Steps before anything is timed or compared: layers that start at zero have gradients by then.
const FIRST_STEPS: u64 = 20;

/// The largest relative difference between the same step of two implementations in single precision.
const TOLERANCE: f64 = 1e-4;

/// How many steps are looked at before a gradient that differs is another model's.
const TRIALS: u32 = 5;

/// A worker and what is known of it.
struct Runner {
    implementation: Implementation,
    description: Value,
    check: Value,
    /// `None` after an error.
    worker: Option<Worker>,
    error: Option<String>,
    /// Steps, and draws, in a block.
    blocks: [u64; 2],
    ms: [Vec<f64>; 2],
    cpu_ms: [Vec<f64>; 2],
}

impl Plan {
    /// The rows of a case. What goes wrong in a peer is in its rows; what goes wrong in ours is an error.
    pub(super) fn measure(&self, case: &Case) -> Result<Vec<Row>> {
        let exported = Scratch::new(case.name)?;
        let mut ours = Runner::start(Implementation::Gen, &mut self.ours(case, "f32"));
        ours.attempt(|runner| {
            runner.seconds(&format!("train {FIRST_STEPS}"))?;
            runner.export(&exported.0)
        })?;
        ours.fail_if_broken(case)?;
        // A processor without the instructions says so in its rows.
        let rounded = Runner::start(Implementation::GenBf16, &mut self.ours(case, "bf16"));
        let mut runners = vec![ours, rounded];
        for implementation in Implementation::PEERS {
            let Some(python) = &self.python else { break };
            say(&format!("{}: starting {}", case.name, implementation.name()));
            let mut runner =
                Runner::start(implementation, &mut self.peer(python, &exported.0, implementation));
            runner.attempt(|runner| runner.compare(|| runners[0].export(&exported.0)))?;
            runners.push(runner);
        }
        for runner in &mut runners {
            runner.attempt(|runner| runner.calibrate(case, self.seconds))?;
        }
        for round in 0..self.rounds {
            say(&format!("{}: round {} of {}", case.name, round + 1, self.rounds));
            for task in Task::ALL {
                for turn in 0..runners.len() {
                    // Each is first and last in turn.
                    let index = (turn + round as usize) % runners.len();
                    runners[index].attempt(|runner| runner.time(case, task))?;
                }
            }
        }
        if let Some(ours) = runners.first() {
            ours.fail_if_broken(case)?;
        }
        let rows = Task::ALL.into_iter().flat_map(|task| runners.iter().map(move |r| r.row(case, task)));
        Ok(rows.collect())
    }

    fn ours(&self, case: &Case, precision: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["bench", case.model, "--data", case.data, "--device", "cpu", "--precision", precision]);
        command.args(["--threads", &self.threads.to_string()]);
        for assignment in case.set {
            command.args(["--set", assignment]);
        }
        command
    }

    fn peer(&self, python: &Path, exported: &Path, implementation: Implementation) -> Command {
        let mode = if implementation == Implementation::Compiled { "compile" } else { "eager" };
        let mut command = Command::new(python);
        command.arg(workspace::root().join("xtask/peers/worker.py")).arg(exported);
        command.args(["--mode", mode, "--threads", &self.threads.to_string()]);
        // Nothing is left beside the sources.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

impl Runner {
    fn start(implementation: Implementation, command: &mut Command) -> Self {
        let mut runner = Runner {
            implementation,
            description: Value::Null,
            check: Value::Null,
            worker: None,
            error: None,
            blocks: [1; 2],
            ms: Default::default(),
            cpu_ms: Default::default(),
        };
        match Worker::start(command).and_then(|(worker, ready)| Ok((worker, serde_json::from_str(&ready)?))) {
            Ok((worker, description)) => {
                runner.worker = Some(worker);
                runner.description = description;
            }
            Err(error) => runner.error = Some(format!("{error:#}")),
        }
        runner
    }

    /// Does something with a worker that still works; its errors are kept, an interruption is handed on.
    fn attempt(&mut self, action: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if self.error.is_some() {
            return Ok(());
        }
        match action(self) {
            Err(error) if is_final(&error) => Err(error),
            Err(error) => {
                say(&format!("{}: {error:#}", self.implementation.name()));
                self.error = Some(format!("{error:#}"));
                self.worker = None;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn fail_if_broken(&self, case: &Case) -> Result<()> {
        match &self.error {
            Some(error) => Err(anyhow!("{}: {error}", case.name)),
            None => Ok(()),
        }
    }

    fn ask(&mut self, request: &str) -> Result<Value> {
        let worker = self.worker.as_mut().context("the worker has ended")?;
        let answer: Value = serde_json::from_str(&worker.ask(request)?).context("not an answer")?;
        match answer["error"].as_str() {
            Some(error) => Err(anyhow!("{error}")),
            None => Ok(answer),
        }
    }

    /// Wall-clock and processor seconds of a request.
    fn seconds(&mut self, request: &str) -> Result<[f64; 2]> {
        let answer = self.ask(request)?;
        let seconds = |name: &str| answer[name].as_f64().with_context(|| format!("an answer without {name}"));
        Ok([seconds("seconds")?, seconds("cpu_seconds")?])
    }

    /// Writes the state before and after the next step.
    fn export(&mut self, folder: &Path) -> Result<()> {
        self.ask(&format!("export {}", folder.display())).map(drop)
    }

    /// Whether it takes the same training step as ours: another model's times would mean nothing.
    ///
    /// Where a ReLU stands so near to 0 that rounding turns it, a gradient jumps. That is seldom, so the `next` step is
    /// looked at too before a difference counts.
    fn compare(&mut self, mut next: impl FnMut() -> Result<()>) -> Result<()> {
        for trial in 1.. {
            self.check = self.ask("check")?;
            let difference = |name: &str| self.check[name].as_f64().unwrap_or(f64::INFINITY);
            let wrong = ["loss_difference", "gradient_difference"]
                .into_iter()
                .find(|name| difference(name) > TOLERANCE);
            match wrong {
                None => break,
                Some("gradient_difference") if trial < TRIALS => next()?,
                Some(name) => {
                    return Err(anyhow!(
                        "its training step is another one: {name} is {:.1e}",
                        difference(name)
                    ));
                }
            }
        }
        Ok(())
    }

    /// Warms up, which for compiled code is most of the work, and finds out how much fills a block.
    fn calibrate(&mut self, case: &Case, seconds: f64) -> Result<()> {
        let enough = |once: f64| (seconds / once.max(1e-9)).ceil().clamp(1.0, 1e6) as u64;
        self.seconds(&format!("train {FIRST_STEPS}"))?;
        let [train, _] = self.seconds(&format!("train {FIRST_STEPS}"))?;
        self.seconds(&sample_request(case))?;
        let [sample, _] = self.seconds(&sample_request(case))?;
        self.blocks = [enough(train / FIRST_STEPS as f64), enough(sample)];
        Ok(())
    }

    fn time(&mut self, case: &Case, task: Task) -> Result<()> {
        let block = self.blocks[task as usize];
        let (requests, request, each) = match task {
            Task::Train => (1, format!("train {block}"), block),
            Task::Sample => (block, sample_request(case), case.samples),
        };
        let [mut wall, mut cpu] = [0.0; 2];
        for _ in 0..requests {
            let [more_wall, more_cpu] = self.seconds(&request)?;
            wall += more_wall;
            cpu += more_cpu;
        }
        let count = (requests * each) as f64;
        self.ms[task as usize].push(1e3 * wall / count);
        self.cpu_ms[task as usize].push(1e3 * cpu / count);
        Ok(())
    }

    fn row(&self, case: &Case, task: Task) -> Row {
        Row {
            case: *case,
            task,
            implementation: self.implementation,
            description: self.description.clone(),
            check: self.check.clone(),
            error: self.error.clone(),
            ms: if self.error.is_none() { self.ms[task as usize].clone() } else { Vec::new() },
            cpu_ms: if self.error.is_none() { self.cpu_ms[task as usize].clone() } else { Vec::new() },
        }
    }
}

fn sample_request(case: &Case) -> String {
    format!("sample {}", case.samples)
}

/// A folder that goes when it is dropped.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("gen-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program that answers like a worker: 2 ms a step, 1 ms a sample.
    const WORKER: &str = r#"#!/bin/sh
echo '{"parameters": 5}'
while read -r command n; do
  case $command in
    train) echo "{\"seconds\": $((2 * n))e-3, \"cpu_seconds\": $((3 * n))e-3}" ;;
    sample) echo "{\"seconds\": $((n))e-3, \"cpu_seconds\": $((n))e-3}" ;;
    export) echo '{"exported": true}' ;;
    *) echo '{"error": "what?"}' ;;
  esac
done
"#;

    fn plan(folder: &Path, worker: &str, python: Option<&str>) -> Plan {
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        Plan {
            program: write("gen", worker),
            python: python.map(|text| write("python", text)),
            threads: 1,
            rounds: 2,
            seconds: 0.01,
        }
    }

    #[test]
    fn a_case_is_a_row_a_task_with_a_time_a_round() {
        let folder = tempfile::tempdir().unwrap();
        let case = Case::new("vae", "vae", "vae", "digits", 10);
        let rows = plan(folder.path(), WORKER, None).measure(&case).unwrap();
        let tasks: Vec<_> = rows.iter().map(|row| (row.task, row.implementation.name())).collect();
        let expected = Task::ALL.map(|task| ["gen", "gen-bf16"].map(|name| (task, name)));
        assert_eq!(tasks, expected.concat());
        for (row, expected) in rows.iter().zip([2.0, 2.0, 1.0, 1.0]) {
            assert_eq!(row.ms.len(), 2);
            assert!(row.ms.iter().all(|ms| (ms - expected).abs() < 1e-9), "{:?}", row.ms);
            assert_eq!(row.description["parameters"], 5);
        }
        assert!((rows[0].cpu_ms[1] - 3.0).abs() < 1e-9, "{:?}", rows[0].cpu_ms);
    }

    #[test]
    fn a_peer_that_fails_says_why_and_ours_is_timed_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let case = Case::new("vae", "vae", "vae", "digits", 10);
        let broken = "#!/bin/sh\necho no compiler >&2\nexit 3\n";
        let rows = plan(folder.path(), WORKER, Some(broken)).measure(&case).unwrap();
        assert_eq!(rows.len(), 8);
        assert_eq!(rows[0].ms.len(), 2);
        assert!(rows[2].error.as_ref().unwrap().contains("no compiler") && rows[2].ms.is_empty());
        let error = plan(folder.path(), broken, None).measure(&case).unwrap_err().to_string();
        assert!(error.contains("vae: no compiler"), "{error}");
    }
}
