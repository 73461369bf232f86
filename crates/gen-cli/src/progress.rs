//! How far work has come: a bar on a terminal that can draw one, a line now and then elsewhere.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use gen_core::number::fixed;
use gen_core::train::{self, LogRecord};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How progress is shown.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A bar if standard error is a terminal that can draw one, lines otherwise
    Auto,
    /// As auto
    Bar,
    Plain,
    None,
}

/// What is done within this needs no progress.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between plain lines, at least.
const INTERVAL: Duration = Duration::from_secs(5);
/// Between two states of a bar.
const FRAME: Duration = Duration::from_millis(200);
/// A bar counts in thousandths.
const TICKS: u64 = 1000;

/// Whether standard error is a terminal, and one that can move its cursor: `TERM=dumb` cannot.
pub(crate) fn can_draw_bars() -> bool {
    !ProgressDrawTarget::stderr().is_hidden()
}

/// Work that may take a while. From its third second on a thread shows how far it is, whatever the work is busy with.
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
    /// Of the present stage.
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
    /// Work that begins now.
    pub(crate) fn on(what: impl Into<String>) -> Self {
        let state = State { what: what.into(), done: 0, total: 0, started: Instant::now(), is_over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), ended: Condvar::new() });
        let shown = Arc::clone(&shared);
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(move || show(&shown)).ok();
        Work { shared, thread }
    }

    /// How much of it is done.
    pub(crate) fn at(&self, done: usize, total: usize) {
        let mut state = self.shared.state();
        (state.done, state.total) = (done, total);
    }

    /// What the work has come to, in other words.
    pub(crate) fn is_now(&self, what: impl Into<String>) {
        self.shared.state().what = what.into();
    }

    /// The next stage, of which nothing is done yet.
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
                crate::eprint(&line(&state));
                // Whoever reads a file of an hour's work needs no line of every five seconds.
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

fn draw(bar: &ProgressBar, state: &State) {
    let template = match state.total {
        0 => "{spinner} {wide_msg}",
        _ => "{bar:30.cyan/dim} {percent:>3}%  {wide_msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
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

/// Shows how far a run has come.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    plain: bool,
    /// When the last line was printed, or the run began.
    last: Instant,
    has_rows: bool,
    /// Until the first step is done.
    first: Option<Work>,
}

impl Progress {
    pub(crate) fn new(style: Style) -> Self {
        let bar = matches!(style, Style::Auto | Style::Bar) && can_draw_bars();
        let plain = style != Style::None && !bar;
        let bar = bar.then(|| {
            let bar = ProgressBar::new(TICKS);
            let template = "{bar:30.cyan/dim} {percent:>3}%  {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Progress { bar, plain, last: Instant::now(), has_rows: false, first: None }
    }

    /// Training begins.
    pub(crate) fn begin(&mut self) {
        self.first = self.during("first step");
    }

    /// Shows that there is work besides training until what it returns is dropped.
    pub(crate) fn during(&self, what: &str) -> Option<Work> {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
        self.plain.then(|| Work::on(what))
    }

    /// A row of the history is complete.
    pub(crate) fn show(&mut self, record: &LogRecord) {
        self.first = None;
        if let Some(bar) = &self.bar {
            bar.set_position((record.budget_used * TICKS as f64) as u64);
            bar.set_message(describe(record));
        } else if self.plain
            && (!self.has_rows || self.last.elapsed() >= INTERVAL || record.budget_used >= 1.0)
        {
            self.last = Instant::now();
            crate::eprint(&format!("{:>3.0}%  {}", 100.0 * record.budget_used, describe(record)));
        }
        self.has_rows = true;
    }

    /// A step within a row, which may take long to be complete.
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
            crate::eprint(&format!("{:>3.0}%  {told}", 100.0 * budget_used));
        }
    }

    /// A line of its own, above the bar where there is one.
    pub(crate) fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| crate::eprint(line)),
            None => crate::eprint(line),
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

/// How long the rest of a budget takes, if it goes on as before.
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
    fn a_line_says_what_is_known() {
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
            images_per_second: 4e7,
            rss_mib: None,
        };
        let expected = "step 20  elbo 3.2500  kl 1.00e300  mse NaN  4.00e7 images/s  1 second left";
        assert_eq!(describe(&record), expected);
    }

    #[test]
    fn what_is_over_at_once_shows_nothing_and_waits_for_nobody() {
        let start = Instant::now();
        drop(Work::on("nothing"));
        assert!(start.elapsed() < PATIENCE);
    }
}
