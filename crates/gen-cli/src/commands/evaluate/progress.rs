//! The progress of an evaluation: a bar on a terminal that can draw one, otherwise a line for each stage, and more from
//! time to time.

use gen_eval::Stage;
use indicatif::ProgressBar;

use crate::message;
use crate::progress::{self, Work, can_draw_bars};

/// The stages of the evaluation of one run.
pub(super) struct Progress {
    run: String,
    bar: Option<ProgressBar>,
    last: String,
    /// The present stage, if there is no bar.
    work: Option<Work>,
}

/// A stage in words, and how much of it is done.
struct Described {
    what: String,
    done: usize,
    total: usize,
}

impl Progress {
    pub(super) fn new(run: String) -> Self {
        let bar = can_draw_bars().then(|| progress::bar(Some(1), progress::SHARE));
        Progress { run, bar, last: String::new(), work: None }
    }

    pub(super) fn show(&mut self, stage: &Stage) {
        let told = describe(stage);
        match &self.bar {
            Some(bar) => {
                bar.set_length(told.total.max(1) as u64);
                bar.set_position(told.done as u64);
                bar.set_message(format!("{}: {}", self.run, told.what));
            }
            None if told.what != self.last => {
                message::tell(format!("{}: {}", self.run, told.what));
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

fn describe(stage: &Stage) -> Described {
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
        Stage::Likelihood { kind, done, total } => (format!("likelihood ({kind}) of {total} test rows"), done, total),
    };
    Described { what, done: *done, total: *total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_has_a_description_and_a_count() {
        let stage = Stage::Comparing { space: "pca-64".to_owned(), metric: "prdc", floor: true, done: 3, total: 4 };
        let told = describe(&stage);
        assert_eq!((told.what.as_str(), told.done, told.total), ("floor of prdc in pca-64", 3, 4));
    }
}
