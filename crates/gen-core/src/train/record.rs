use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Optimizer steps taken.
    pub step: u64,
    /// Rows of the training data seen.
    pub images_seen: u64,
    /// Seconds spent in training steps.
    pub seconds: f64,
    /// Processor seconds spent in training steps, all threads together.
    pub cpu_seconds: f64,
}

/// The row of the history that has begun and is not complete: what a run that stops between two rows has to keep.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRow {
    /// How far the run had come at the last record.
    pub since: Progress,
    /// The sum of each loss over the steps since then.
    pub losses: BTreeMap<String, f64>,
}

/// What [`Trainer::advance_until`](super::Trainer::advance_until) came to.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainEvent {
    /// A row of the history is complete.
    Row(LogRecord),
    /// The caller asked for a pause; the next call goes on with the same row.
    Paused,
    /// The training is at its end.
    Finished,
}

/// A row of the history.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRecord {
    /// How far the run has come.
    pub progress: Progress,
    /// The part of the budget that is used, in [0, 1].
    pub budget_used: f64,
    /// The factor on the learning rate at the last step.
    pub lr_scale: f64,
    /// The mean of each loss since the last record, in the order in which the model names them.
    pub losses: Vec<(&'static str, f64)>,
    /// Rows a second since the last record.
    pub images_per_second: f64,
    /// Resident memory, in MiB; `None` where the system does not tell.
    pub rss_mib: Option<f64>,
}

/// Sums over the steps since the last record.
#[derive(Default)]
pub(super) struct Row {
    pub(super) since: Progress,
    pub(super) lr_scale: f64,
    pub(super) sums: Vec<(&'static str, Tensor)>,
    /// What an earlier process had summed up; each part joins its loss when the model next names it.
    carried: BTreeMap<String, f64>,
}

impl Row {
    /// A row that begins here.
    pub(super) fn new(since: Progress) -> Self {
        Row { since, ..Row::default() }
    }

    /// The row as it is saved.
    pub(super) fn open(&self) -> OpenRow {
        let mut losses = self.carried.clone();
        losses.extend(self.sums.iter().map(|(name, sum)| ((*name).to_owned(), sum.double_value(&[]))));
        OpenRow { since: self.since, losses }
    }

    /// The row as it was saved.
    pub(super) fn resume(row: OpenRow) -> Self {
        Row { since: row.since, carried: row.losses, ..Row::default() }
    }

    /// The mean of each loss over the steps up to `step`.
    pub(super) fn means(&self, step: u64) -> Vec<(&'static str, f64)> {
        let steps = (step - self.since.step) as f64;
        self.sums.iter().map(|(name, sum)| (*name, sum.double_value(&[]) / steps)).collect()
    }

    /// Adds losses to the sums without asking the device for their values.
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
