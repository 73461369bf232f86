//! How far an evaluation has come: a bar on a terminal that can draw one, a line when something else begins elsewhere, and
//! now and then while it lasts.

use std::time::Duration;

use gen_eval::Stage;
use indicatif::{ProgressBar, ProgressStyle};

use crate::progress::{Work, can_draw_bars};

/// Shows the stages of one run.
pub(super) struct Progress {
    run: String,
    bar: Option<ProgressBar>,
    last: String,
    /// The present stage, where there is no bar.
    work: Option<Work>,
}

/// A stage in words, and how much of it is done.
struct Told {
    what: String,
    done: usize,
    total: usize,
}

impl Progress {
    pub(super) fn new(run: String) -> Self {
        let bar = can_draw_bars().then(|| {
            let bar = ProgressBar::new(1);
            if let Ok(style) = ProgressStyle::with_template("{bar:30.cyan/dim} {percent:>3}%  {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Progress { run, bar, last: String::new(), work: None }
    }

    pub(super) fn show(&mut self, stage: &Stage) {
        let told = tell(stage);
        match &self.bar {
            Some(bar) => {
                bar.set_length(told.total.max(1) as u64);
                bar.set_position(told.done as u64);
                bar.set_message(format!("{}: {}", self.run, told.what));
            }
            None if told.what != self.last => {
                crate::eprint(&format!("{}: {}", self.run, told.what));
                self.work = Some(Work::on(format!("{}: {}", self.run, told.what)));
                self.last = told.what;
            }
            None => {}
        }
        if let Some(work) = &self.work {
            work.at(told.done, told.total);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn tell(stage: &Stage) -> Told {
    let (what, done, total) = match stage {
        Stage::Features { space, done, total } => (format!("features of {total} in {space}"), done, total),
        Stage::Timing => ("single samples".to_owned(), &0, &0),
        Stage::Neighbours { space, done, total } => {
            (format!("training rows nearest to the {total} test rows in {space}"), done, total)
        }
        Stage::Sampling { done, total } => (format!("{total} samples"), done, total),
        Stage::Comparing { space, metric, floor, done, total } => {
            let floor = if *floor { "floor of " } else { "" };
            (format!("{floor}{metric} in {space}"), done, total)
        }
        Stage::Likelihood { kind, done, total } => {
            (format!("likelihood ({kind}) of {total} test rows"), done, total)
        }
    };
    Told { what, done: *done, total: *total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_told_with_what_is_done() {
        let stage =
            Stage::Comparing { space: "pca-64".to_owned(), metric: "prdc", floor: true, done: 3, total: 4 };
        let told = tell(&stage);
        assert_eq!((told.what.as_str(), told.done, told.total), ("floor of prdc in pca-64", 3, 4));
    }
}
