//! The progress of long work: a bar on a terminal that can draw one, otherwise lines from time to time.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use gen_core::number::fixed;
use gen_core::train::{self, LogRecord};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::message;

/// The form of progress.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A bar if standard error is a terminal that can draw one, lines otherwise
    Auto,
    /// Same as auto
    Bar,
    /// Lines
    Plain,
    /// No progress
    None,
}

/// Work that takes less than this shows no progress.
const PATIENCE: Duration = Duration::from_secs(2);
/// The least time between plain lines.
const INTERVAL: Duration = Duration::from_secs(5);
/// The time between two states of a bar.
const FRAME: Duration = Duration::from_millis(200);
/// The length of a bar.
const TICKS: u64 = 1000;

/// Whether standard error is a terminal, and one that can move its cursor: `TERM=dumb` cannot.
pub(crate) fn can_draw_bars() -> bool {
    !ProgressDrawTarget::stderr().is_hidden()
}

/// Work that may take long. A thread shows its progress from the third second on, even while the work reports nothing.
pub(crate) struct Work {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    what: String,
    /// Units of the present stage that are done, and all of them; 0 of 0 where that is unknown.
    done: usize,
    total: usize,
    started: Instant,
    is_over: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    /// Begins work of this description.
    pub(crate) fn on(what: impl Into<String>) -> Self {
        let state = State { what: what.into(), done: 0, total: 0, started: Instant::now(), is_over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), ended: Condvar::new() });
        let shown = Arc::clone(&shared);
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(move || show(&shown)).ok();
        Work { shared, thread }
    }

    /// Reports how much of the present stage is done.
    pub(crate) fn at(&self, done: usize, total: usize) {
        let mut state = self.shared.state();
        (state.done, state.total) = (done, total);
    }

    /// Changes the description of the present stage.
    pub(crate) fn describe(&self, what: impl Into<String>) {
        self.shared.state().what = what.into();
    }

    /// Begins the next stage.
    pub(crate) fn next(&self, what: impl Into<String>) {
        let mut state = self.shared.state();
        let what = what.into();
        if state.what != what {
            *state = State { what, done: 0, total: 0, started: Instant::now(), is_over: false };
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.ended.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn show(shared: &Shared) {
    let draws = can_draw_bars();
    let mut bar: Option<ProgressBar> = None;
    let mut next = Instant::now() + PATIENCE;
    let mut state = shared.state();
    while !state.is_over {
        let now = Instant::now();
        if now >= next {
            if draws {
                draw(bar.get_or_insert_with(|| ProgressBar::new(TICKS)), &state);
                next = now + FRAME;
            } else {
                message::tell(line(&state));
                // The lines become rarer, so that an hour of work does not fill a log file.
                next = now + INTERVAL.max(state.started.elapsed() / 4);
            }
        }
        let woken = shared.ended.wait_timeout(state, next.saturating_duration_since(Instant::now()));
        state = woken.unwrap_or_else(PoisonError::into_inner).0;
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

/// A bar with the share that is done and a message.
pub(crate) const SHARE: &str = "{bar:30.cyan/dim} {percent:>3}%  {wide_msg}";

/// The style of a bar by its template.
pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A bar of this template that moves while nothing is reported.
pub(crate) fn bar(length: Option<u64>, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr()).with_style(style(template));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

fn draw(bar: &ProgressBar, state: &State) {
    bar.set_style(style(if state.total == 0 { "{spinner} {wide_msg}" } else { SHARE }));
    bar.set_position(state.done as u64 * TICKS / state.total.max(1) as u64);
    bar.set_message(line(state));
    bar.tick();
}

/// `what: 3000 of 10000, 14 seconds, 33 seconds left`
fn line(state: &State) -> String {
    let passed = state.started.elapsed();
    let State { what, done, total, .. } = state;
    if *total == 0 {
        return format!("{what}: {} so far", HumanDuration(passed));
    }
    let left = match done {
        0 => String::new(),
        _ => {
            let left = passed.as_secs_f64() * (*total as f64 / *done as f64 - 1.0);
            format!(", about {} left", HumanDuration(Duration::from_secs_f64(left.clamp(0.0, 1e7))))
        }
    };
    format!("{what}: {done} of {total}, {} so far{left}", HumanDuration(passed))
}

/// The progress of training.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    plain: bool,
    /// The time of the last line, or of the beginning.
    last: Instant,
    has_rows: bool,
    /// The work until the first step is done.
    first: Option<Work>,
}

impl Progress {
    pub(crate) fn new(style: Style) -> Self {
        let bar = matches!(style, Style::Auto | Style::Bar) && can_draw_bars();
        let plain = style != Style::None && !bar;
        let bar = bar.then(|| self::bar(Some(TICKS), SHARE));
        Progress { bar, plain, last: Instant::now(), has_rows: false, first: None }
    }

    /// Shows that training begins.
    pub(crate) fn begin(&mut self) {
        self.first = self.during("first step");
    }

    /// Shows work besides training until the returned value is dropped.
    pub(crate) fn during(&self, what: &str) -> Option<Work> {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
        self.plain.then(|| Work::on(what))
    }

    /// Shows a row of the history.
    pub(crate) fn show(&mut self, record: &LogRecord) {
        self.first = None;
        if let Some(bar) = &self.bar {
            bar.set_position((record.budget_used * TICKS as f64) as u64);
            bar.set_message(describe(record));
        } else if self.plain && (!self.has_rows || self.last.elapsed() >= INTERVAL || record.budget_used >= 1.0) {
            self.last = Instant::now();
            message::tell(format!("{:>3.0}%  {}", 100.0 * record.budget_used, describe(record)));
        }
        self.has_rows = true;
    }

    /// Shows a step between two rows of the history, if the last line is long ago.
    pub(crate) fn step(&mut self, progress: train::Progress, budget_used: f64) {
        self.first = None;
        let patience = if self.has_rows { INTERVAL } else { PATIENCE };
        if self.last.elapsed() < patience {
            return;
        }
        self.last = Instant::now();
        let told = format!("step {}  {} left", progress.step, left(progress.seconds, budget_used));
        if let Some(bar) = &self.bar {
            bar.set_position((budget_used * TICKS as f64) as u64);
            bar.set_message(told);
        } else if self.plain {
            message::tell(format!("{:>3.0}%  {told}", 100.0 * budget_used));
        }
    }

    /// Prints a line, above the bar if there is one.
    pub(crate) fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| message::tell(line)),
            None => message::tell(line),
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn describe(record: &LogRecord) -> String {
    let losses: Vec<String> = record
        .losses
        .iter()
        .filter(|(name, _)| !name.starts_with("grad_norm"))
        .take(4)
        .map(|(name, value)| format!("{name} {}", fixed(*value, 4)))
        .collect();
    format!(
        "step {}  {}  {} images/s  {} left",
        record.progress.step,
        losses.join("  "),
        fixed(record.images_per_second, 0),
        left(record.progress.seconds, record.budget_used)
    )
}

/// The time that the rest of a budget takes at the average speed so far.
fn left(seconds: f64, budget_used: f64) -> HumanDuration {
    let left = seconds * (1.0 - budget_used) / budget_used.max(1e-9);
    HumanDuration(Duration::from_secs_f64(left.clamp(0.0, 1e7)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(done: usize, total: usize, seconds: u64) -> State {
        let started = Instant::now() - Duration::from_secs(seconds);
        State { what: "drawing samples".to_owned(), done, total, started, is_over: false }
    }

    #[test]
    fn a_line_states_what_is_known() {
        assert_eq!(line(&state(0, 0, 14)), "drawing samples: 14 seconds so far");
        assert_eq!(line(&state(0, 9, 3)), "drawing samples: 0 of 9, 3 seconds so far");
        let some = line(&state(3, 9, 14));
        assert_eq!(some, "drawing samples: 3 of 9, 14 seconds so far, about 28 seconds left");
    }

    #[test]
    fn losses_of_any_size_fit_a_line() {
        let record = LogRecord {
            progress: train::Progress { step: 20, seconds: 1.0, ..train::Progress::default() },
            budget_used: 0.5,
            lr_scale: 1.0,
            losses: vec![("elbo", 3.25), ("kl", 1e300), ("mse", f64::NAN)],
            names: vec!["elbo", "kl", "mse"],
            images_per_second: 4e7,
            rss_mib: None,
        };
        let expected = "step 20  elbo 3.2500  kl 1.00e300  mse NaN  4.00e7 images/s  1 second left";
        assert_eq!(describe(&record), expected);
    }

    #[test]
    fn short_work_does_not_wait_for_its_thread() {
        let start = Instant::now();
        drop(Work::on("nothing"));
        assert!(start.elapsed() < PATIENCE);
    }
}
