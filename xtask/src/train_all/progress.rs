//! Progress over all runs: bars on a terminal, lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

use super::job::{Job, Outcome};
use crate::terminal::note;

/// Shows the progress of a list of jobs.
pub(super) struct Progress {
    bars: Option<Bars>,
    total: usize,
    index: usize,
    name: String,
    stage: String,
    started: Instant,
    times: Times,
}

/// On a terminal: the last line of the present run, and below it the progress over all runs.
struct Bars {
    all: MultiProgress,
    run: ProgressBar,
    overall: ProgressBar,
}

impl Progress {
    pub(super) fn new(jobs: &[Job], budget: &str) -> Self {
        let bars = std::io::stderr().is_terminal().then(|| Bars::new(jobs.len()));
        Progress {
            bars,
            total: jobs.len(),
            index: 0,
            name: String::new(),
            stage: String::new(),
            started: Instant::now(),
            times: Times::new(jobs, seconds_of(budget)),
        }
    }

    /// A run begins.
    pub(super) fn start(&mut self, index: usize, job: &Job) {
        self.index = index;
        self.name = job.name().to_owned();
        self.started = Instant::now();
        if let Some(bars) = &self.bars {
            bars.run.set_prefix(self.name.clone());
            bars.run.set_message("");
            bars.overall.set_message(self.left());
        }
    }

    /// The run begins a stage: `train` or `evaluate`.
    pub(super) fn stage(&mut self, stage: &str) {
        stage.clone_into(&mut self.stage);
        match &self.bars {
            Some(bars) => bars.run.set_message(stage.to_owned()),
            None => note(&format!("{} {stage}", self.prefix())),
        }
    }

    /// A line that the run's program printed.
    pub(super) fn line(&self, line: &str) {
        match &self.bars {
            _ if line.trim().is_empty() => {}
            Some(bars) => bars.run.set_message(format!("{} {}", self.stage, line.trim())),
            None => note(&format!("{} {line}", self.prefix())),
        }
    }

    /// The run is over.
    pub(super) fn finish(&mut self, job: &Job, outcome: &Outcome) {
        let took = self.started.elapsed();
        self.times.finish(job, outcome, took);
        let text = match outcome {
            Outcome::Skipped => "had been done before".to_owned(),
            Outcome::Done => format!("done in {}", HumanDuration(took)),
            Outcome::Failed(reason) => format!("failed after {}: {reason}", HumanDuration(took)),
        };
        let line = format!("{} {text}", self.prefix());
        let left = self.left();
        match &self.bars {
            Some(bars) => {
                // The line goes above the bars. If writing fails, the terminal is gone.
                let _ = bars.all.println(line);
                bars.overall.inc(1);
                bars.overall.set_message(left);
            }
            None if left.is_empty() => note(&line),
            None => note(&format!("{line}; {left}")),
        }
    }

    /// All runs are over.
    pub(super) fn end(&self) {
        if let Some(bars) = &self.bars {
            bars.run.finish_and_clear();
            bars.overall.finish_and_clear();
        }
    }

    fn prefix(&self) -> String {
        format!("[{}/{}] {}:", self.index + 1, self.total, self.name)
    }

    /// The time that the remaining runs will take, in words; empty if there are none or nothing is known.
    fn left(&self) -> String {
        let left = self.times.left().filter(|left| !left.is_zero());
        left.map(|left| format!("about {} left", HumanDuration(left))).unwrap_or_default()
    }
}

impl Bars {
    fn new(total: usize) -> Self {
        let all = MultiProgress::new();
        let bar = |bar: ProgressBar, template: &str| {
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            let bar = all.add(bar);
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        };
        let run = bar(ProgressBar::new_spinner(), "{spinner} {prefix:.bold} {wide_msg:.dim}");
        let overall = bar(
            ProgressBar::new(total as u64),
            "{bar:30.cyan/dim} {pos} of {len} runs, {elapsed_precise} elapsed, {msg}",
        );
        Bars { all, run, overall }
    }
}

/// Expected durations of training and of references: means of past runs, before that a guess from the budget.
struct Times {
    /// For each remaining job, whether it is a training.
    left: Vec<bool>,
    training: Mean,
    reference: Mean,
}

/// A mean that starts from a guess.
struct Mean {
    guess: Option<Duration>,
    sum: Duration,
    n: u32,
}

impl Mean {
    fn new(guess: Option<Duration>) -> Self {
        Mean { guess, sum: Duration::ZERO, n: 0 }
    }

    fn value(&self) -> Option<Duration> {
        if self.n > 0 { Some(self.sum / self.n) } else { self.guess }
    }
}

impl Times {
    fn new(jobs: &[Job], budget: Option<Duration>) -> Self {
        Times {
            left: jobs.iter().map(Job::is_training).collect(),
            // Samples over training and the evaluation come on top of the budget.
            training: Mean::new(budget.map(|budget| budget + Duration::from_secs(30))),
            reference: Mean::new(Some(Duration::from_secs(15))),
        }
    }

    fn finish(&mut self, job: &Job, outcome: &Outcome, took: Duration) {
        if !self.left.is_empty() {
            self.left.remove(0);
        }
        if *outcome == Outcome::Done {
            let mean = if job.is_training() { &mut self.training } else { &mut self.reference };
            mean.sum += took;
            mean.n += 1;
        }
    }

    /// `None` while nothing is known about the duration of a training.
    fn left(&self) -> Option<Duration> {
        self.left.iter().map(|training| if *training { self.training.value() } else { self.reference.value() }).sum()
    }
}

/// The length of a budget of time; `None` for other budgets.
fn seconds_of(budget: &str) -> Option<Duration> {
    let budget = budget.trim();
    let unit = budget.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = budget[..unit].parse().ok()?;
    let scale = match budget[unit..].trim() {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * scale).ok()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn budgets_of_time_have_a_length() {
        let seconds = |budget| seconds_of(budget).map(|duration| duration.as_secs());
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("3m"), Some(180));
        assert_eq!(seconds("0.5h"), Some(1800));
        assert_eq!(seconds("20000steps"), None);
        assert_eq!(seconds(""), None);
    }

    #[test]
    fn the_time_left_follows_the_jobs_seen() {
        let jobs = [
            Job::reference(Path::new("x"), "floor"),
            Job::train(PathBuf::from("x/a"), "a", 0),
            Job::train(PathBuf::from("x/b"), "b", 0),
            Job::train(PathBuf::from("x/c"), "c", 0),
        ];
        let mut times = Times::new(&jobs, Some(Duration::from_secs(60)));
        assert_eq!(times.left(), Some(Duration::from_secs(15 + 3 * 90)));
        times.finish(&jobs[0], &Outcome::Done, Duration::from_secs(5));
        times.finish(&jobs[1], &Outcome::Done, Duration::from_secs(70));
        assert_eq!(times.left(), Some(Duration::from_secs(140)));
        times.finish(&jobs[2], &Outcome::Skipped, Duration::ZERO);
        assert_eq!(times.left(), Some(Duration::from_secs(70)));
        assert_eq!(Times::new(&jobs, None).left(), None);
    }
}
