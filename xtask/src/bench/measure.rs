//! Timing of workers, in turn.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::cases::{Case, Implementation, Task};
use super::progress::say;
use crate::process::{Interrupted, Worker};
use crate::workspace;

/// The measurements of one implementation at one task.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) case: Case,
    pub(super) task: Task,
    pub(super) implementation: Implementation,
    /// The description that the worker prints at its start.
    pub(super) description: Value,
    /// The differences of its training step from ours, if they were checked.
    pub(super) check: Value,
    /// The reason if there are no times.
    pub(super) error: Option<String>,
    /// Milliseconds for a step or a sample, a number for each round.
    pub(super) ms: Vec<f64>,
    /// The same in processor time, summed over threads.
    pub(super) cpu_ms: Vec<f64>,
}

/// The programs and the amount of timing.
pub(super) struct Plan {
    pub(super) program: PathBuf,
    pub(super) python: Option<PathBuf>,
    /// Another build of the program.
    pub(super) beside: Option<PathBuf>,
    pub(super) threads: usize,
    pub(super) rounds: u32,
    pub(super) seconds: f64,
}

/// Steps before anything is timed or compared, after which layers that start at zero have gradients.
const FIRST_STEPS: u64 = 20;

/// The largest relative difference between the same step of two implementations in single precision.
const TOLERANCE: f64 = 1e-4;

/// The number of steps that are compared before a different gradient means another model.
const TRIALS: u32 = 5;

/// The times of one implementation at one task.
struct Timing {
    task: Task,
    /// The number of steps or draws in a round.
    block: u64,
    ms: Vec<f64>,
    cpu_ms: Vec<f64>,
}

/// A worker with its measurements.
struct Runner {
    implementation: Implementation,
    description: Value,
    check: Value,
    /// `None` after an error.
    worker: Option<Worker>,
    error: Option<String>,
    /// One for each of [`Case::tasks`].
    timings: Vec<Timing>,
}

impl Plan {
    /// The rows of a case. A failure of a peer is in its rows; a failure of ours is an error.
    pub(super) fn measure(&self, case: &Case) -> Result<Vec<Row>> {
        let exported = tempfile::tempdir().context("cannot make a temporary folder")?;
        let exported = exported.path();
        let mut runners: Vec<Runner> = Vec::new();
        for implementation in case.implementations.iter().copied() {
            let command = match (implementation, &self.python) {
                (Implementation::Gen, _) => self.ours(&self.program, case, "f32"),
                // If the processor lacks the instructions, the rows say so.
                (Implementation::GenBf16, _) => self.ours(&self.program, case, "bf16"),
                (Implementation::Beside, _) => match &self.beside {
                    Some(program) => self.ours(program, case, "f32"),
                    None => continue,
                },
                (_, Some(python)) => self.peer(python, exported, implementation),
                (_, None) => continue,
            };
            say(&format!("{}: starting {}", case.name, implementation.name()));
            let mut runner = Runner::start(case, implementation, command);
            if implementation == Implementation::Gen {
                runner.attempt(|runner| {
                    runner.seconds(&format!("train {FIRST_STEPS}"))?;
                    runner.export(exported)
                })?;
                runner.fail_if_broken(case)?;
            } else if implementation.has_our_weights() {
                runner.attempt(|runner| runner.compare(|| runners[0].export(exported)))?;
            }
            runners.push(runner);
        }
        for runner in &mut runners {
            runner.attempt(|runner| runner.calibrate(self.seconds))?;
        }
        for round in 0..self.rounds {
            say(&format!("{}: round {} of {}", case.name, round + 1, self.rounds));
            for task in 0..case.tasks().len() {
                for turn in 0..runners.len() {
                    // The order rotates, so that each is first and last in turn.
                    let index = (turn + round as usize) % runners.len();
                    runners[index].attempt(|runner| runner.time(task))?;
                }
            }
        }
        if let Some(ours) = runners.first() {
            ours.fail_if_broken(case)?;
        }
        let tasks = 0..case.tasks().len();
        Ok(tasks.flat_map(|task| runners.iter().map(move |runner| runner.row(case, task))).collect())
    }

    fn ours(&self, program: &Path, case: &Case, precision: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["bench", case.model, "--data", case.data, "--device", "cpu", "--precision", precision]);
        command.args(["--threads", &self.threads.to_string()]);
        for assignment in case.set {
            command.args(["--set", assignment]);
        }
        command
    }

    fn peer(&self, python: &Path, exported: &Path, implementation: Implementation) -> Command {
        let mut command = Command::new(python);
        command.arg(workspace::root().join("xtask/peers/worker.py")).arg(exported);
        command.args(["--mode", implementation.mode(), "--threads", &self.threads.to_string()]);
        // Leave no compiled modules beside the sources.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

impl Runner {
    fn start(case: &Case, implementation: Implementation, command: Command) -> Self {
        let timing = |task| Timing { task, block: 1, ms: Vec::new(), cpu_ms: Vec::new() };
        let mut runner = Runner {
            implementation,
            description: Value::Null,
            check: Value::Null,
            worker: None,
            error: None,
            timings: case.tasks().into_iter().map(timing).collect(),
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

    /// Runs an action with a worker that has not failed. Its error is kept; an interruption is returned.
    fn attempt(&mut self, action: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if self.error.is_some() {
            return Ok(());
        }
        match action(self) {
            Err(error) if error.is::<Interrupted>() => Err(error),
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

    /// Checks that its training step is the same as ours, since the times of another model would mean nothing.
    ///
    /// If the input of a ReLU is so close to 0 that rounding changes its sign, a gradient jumps. That is rare, so a
    /// different gradient counts only if the `next` steps differ too.
    fn compare(&mut self, mut next: impl FnMut() -> Result<()>) -> Result<()> {
        for trial in 1.. {
            self.check = self.ask("check")?;
            let difference = |name: &str| self.check[name].as_f64().unwrap_or(f64::INFINITY);
            let wrong =
                ["loss_difference", "gradient_difference"].into_iter().find(|name| difference(name) > TOLERANCE);
            match wrong {
                None => break,
                Some("gradient_difference") if trial < TRIALS => next()?,
                Some(name) => {
                    return Err(anyhow!("its training step is different: {name} is {:.1e}", difference(name)));
                }
            }
        }
        Ok(())
    }

    /// Warms up, which compiles code where need be, and finds the number of steps or draws that fill a round.
    fn calibrate(&mut self, seconds: f64) -> Result<()> {
        for index in 0..self.timings.len() {
            let (request, each) = match self.timings[index].task {
                Task::Train => (format!("train {FIRST_STEPS}"), FIRST_STEPS),
                Task::Sample(n) => (format!("sample {n}"), 1),
            };
            self.seconds(&request)?;
            let [took, _] = self.seconds(&request)?;
            let once = (took / each as f64).max(1e-9);
            self.timings[index].block = (seconds / once).ceil().clamp(1.0, 1e6) as u64;
        }
        Ok(())
    }

    /// One round of a task.
    fn time(&mut self, index: usize) -> Result<()> {
        let Timing { task, block, .. } = self.timings[index];
        let (requests, request, each) = match task {
            Task::Train => (1, format!("train {block}"), block),
            Task::Sample(n) => (block, format!("sample {n}"), n),
        };
        let [mut wall, mut cpu] = [0.0; 2];
        for _ in 0..requests {
            let [more_wall, more_cpu] = self.seconds(&request)?;
            wall += more_wall;
            cpu += more_cpu;
        }
        let count = (requests * each) as f64;
        self.timings[index].ms.push(1e3 * wall / count);
        self.timings[index].cpu_ms.push(1e3 * cpu / count);
        Ok(())
    }

    fn row(&self, case: &Case, index: usize) -> Row {
        let Timing { task, ms, cpu_ms, .. } = &self.timings[index];
        let timed = |ms: &[f64]| if self.error.is_none() { ms.to_vec() } else { Vec::new() };
        Row {
            case: *case,
            task: *task,
            implementation: self.implementation,
            description: self.description.clone(),
            check: self.check.clone(),
            error: self.error.clone(),
            ms: timed(ms),
            cpu_ms: timed(cpu_ms),
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::testing::script;

    /// A program that answers like a worker: 2 ms a step, 1 ms a sample.
    const WORKER: &str = r#"
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
        Plan {
            beside: None,
            program: script(folder, "gen", worker),
            python: python.map(|text| script(folder, "python", text)),
            threads: 1,
            rounds: 2,
            seconds: 0.01,
        }
    }

    #[test]
    fn a_case_is_a_row_a_task_with_a_time_a_round() {
        let folder = tempfile::tempdir().unwrap();
        let case = Case::new("vae", "vae", "vae", "digits", &[10]);
        let rows = plan(folder.path(), WORKER, None).measure(&case).unwrap();
        let tasks: Vec<_> = rows.iter().map(|row| (row.task, row.implementation.name())).collect();
        let expected = [Task::Train, Task::Sample(10)].map(|task| ["gen", "gen-bf16"].map(|name| (task, name)));
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
        let case = Case::new("vae", "vae", "vae", "digits", &[10]);
        let broken = "echo no compiler >&2\nexit 3";
        let rows = plan(folder.path(), WORKER, Some(broken)).measure(&case).unwrap();
        assert_eq!(rows.len(), 8);
        assert_eq!(rows[0].ms.len(), 2);
        assert!(rows[2].error.as_ref().unwrap().contains("no compiler") && rows[2].ms.is_empty());
        let error = plan(folder.path(), broken, None).measure(&case).unwrap_err().to_string();
        assert!(error.contains("vae: no compiler"), "{error}");
    }

    #[test]
    fn a_library_is_asked_for_by_name_and_each_number_of_samples_has_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let case = Case {
            samples: &[10, 20],
            implementations: &[Implementation::Gen, Implementation::Zuko, Implementation::Nflows],
            ..Case::new("realnvp", "realnvp", "flow", "moons", &[])
        };
        // One of the two libraries cannot be imported.
        let python =
            WORKER.replace("echo '{", "case \"$*\" in *\"--mode zuko\"*) echo no zuko >&2; exit 1;; esac\necho '{");
        let rows = plan(folder.path(), WORKER, Some(&python)).measure(&case).unwrap();
        let found: Vec<_> = rows.iter().map(|row| (row.task, row.implementation.name(), row.ms.len())).collect();
        let of = |task| [(task, "gen", 2), (task, "zuko", 0), (task, "nflows", 2)];
        assert_eq!(found, [Task::Train, Task::Sample(10), Task::Sample(20)].map(of).concat());
        assert!(rows[1].error.as_ref().unwrap().contains("no zuko"), "{:?}", rows[1].error);
        assert!((rows[8].ms[0] - 1.0).abs() < 1e-9, "{:?}", rows[8].ms);
    }
}
