use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// The progress of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Optimizer steps taken.
    pub step: u64,
    /// Rows of the training data seen.
    pub images_seen: u64,
    /// Wall-clock seconds in training steps.
    pub seconds: f64,
    /// Processor seconds in training steps, summed over threads.
    pub cpu_seconds: f64,
}

/// The unfinished row of the history, which a checkpoint between two rows has to hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRow {
    /// The progress at the last complete row.
    pub since: Progress,
    /// The sum of each loss over the steps since then.
    pub losses: BTreeMap<String, f64>,
}

/// The result of [`Trainer::advance_until`](super::Trainer::advance_until).
#[derive(Debug, Clone, PartialEq)]
pub enum TrainEvent {
    /// A row of the history is complete.
    Row(LogRecord),
    /// The caller asked for a pause; the next call continues the same row.
    Paused,
    /// The training has ended.
    Finished,
}

/// A row of the history.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRecord {
    /// The progress of the run.
    pub progress: Progress,
    /// The used share of the budget, in [0, 1].
    pub budget_used: f64,
    /// The factor on the learning rate at the last step.
    pub lr_scale: f64,
    /// The mean of each loss since the last row, in the order of the model.
    pub losses: Vec<(&'static str, f64)>,
    /// Rows per second since the last row of the history.
    pub images_per_second: f64,
    /// Resident memory in MiB; `None` where the system does not report it.
    pub rss_mib: Option<f64>,
}

/// The sums of the losses over the steps of an unfinished row.
#[derive(Default)]
pub(super) struct Row {
    pub(super) since: Progress,
    pub(super) lr_scale: f64,
    pub(super) sums: Vec<(&'static str, Tensor)>,
    /// The sums of an earlier process, each added to its loss when the model next reports it.
    carried: BTreeMap<String, f64>,
}

impl Row {
    /// An empty row.
    pub(super) fn new(since: Progress) -> Self {
        Row { since, ..Row::default() }
    }

    /// The row for a checkpoint.
    pub(super) fn open(&self) -> OpenRow {
        let mut losses = self.carried.clone();
        losses.extend(self.sums.iter().map(|(name, sum)| ((*name).to_owned(), sum.double_value(&[]))));
        OpenRow { since: self.since, losses }
    }

    /// Continues a row from a checkpoint.
    pub(super) fn resume(row: OpenRow) -> Self {
        Row { since: row.since, carried: row.losses, ..Row::default() }
    }

    /// The mean of each loss over the steps up to `step`.
    pub(super) fn means(&self, step: u64) -> Vec<(&'static str, f64)> {
        let steps = (step - self.since.step) as f64;
        self.sums.iter().map(|(name, sum)| (*name, sum.double_value(&[]) / steps)).collect()
    }

    /// Adds losses to the sums on their device, without waiting for their values.
    pub(super) fn add<'t>(&mut self, losses: impl Iterator<Item = (&'static str, &'t Tensor)>) {
        for (name, value) in losses {
            let value = value.to_kind(Kind::Double);
            match self.sums.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += value,
                None => match self.carried.remove(name) {
                    Some(carried) => self.sums.push((name, value + carried)),
                    None => self.sums.push((name, value)),
                },
            }
        }
    }
}
