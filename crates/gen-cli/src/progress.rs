//! Progress of a training run: a bar on a terminal, a line every few seconds elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use gen_core::train::LogRecord;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// How progress is shown.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A bar if standard error is a terminal, lines otherwise
    Auto,
    Bar,
    Plain,
    None,
}

/// Seconds between plain lines.
const INTERVAL: Duration = Duration::from_secs(5);
/// The bar counts in thousandths of the budget.
const TICKS: u64 = 1000;

/// Shows how far a run has come.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    plain: bool,
    last: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(style: Style) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = style == Style::Bar || (style == Style::Auto && terminal);
        let plain = style == Style::Plain || (style == Style::Auto && !terminal);
        let bar = bar.then(|| {
            let bar = ProgressBar::new(TICKS);
            let template = "{bar:30.cyan/dim} {percent:>3}%  {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Progress { bar, plain, last: None }
    }

    pub(crate) fn show(&mut self, record: &LogRecord) {
        if let Some(bar) = &self.bar {
            bar.set_position((record.budget_used * TICKS as f64) as u64);
            bar.set_message(describe(record));
        } else if self.plain
            && (self.last.is_none_or(|last| last.elapsed() >= INTERVAL) || record.budget_used >= 1.0)
        {
            self.last = Some(Instant::now());
            crate::eprint(&format!("{:>3.0}%  {}", 100.0 * record.budget_used, describe(record)));
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
        .map(|(name, value)| format!("{name} {value:.4}"))
        .collect();
    let seconds = record.progress.seconds;
    let left = seconds * (1.0 - record.budget_used) / record.budget_used.max(1e-9);
    format!(
        "step {}  {}  {:.0} images/s  {} left",
        record.progress.step,
        losses.join("  "),
        record.images_per_second,
        HumanDuration(Duration::from_secs_f64(left.clamp(0.0, 1e7)))
    )
}
