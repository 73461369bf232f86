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
    /// Each loss over the steps since then that computed it.
    pub losses: BTreeMap<String, LossSum>,
}

/// The sum of a loss over the steps that computed it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossSum {
    /// The sum.
    pub sum: f64,
    /// The number of steps.
    pub steps: u64,
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
    /// The mean of each loss over the steps since the last row that computed it, in the order of the model. Those that
    /// no step computed are missing.
    pub losses: Vec<(&'static str, f64)>,
    /// The names of all losses of the model, see [`GenerativeModel::losses`](crate::model::GenerativeModel::losses).
    pub names: Vec<&'static str>,
    /// Rows per second since the last row of the history.
    pub images_per_second: f64,
    /// Resident memory in MiB; `None` where the system does not report it.
    pub rss_mib: Option<f64>,
}

/// The losses over the steps of an unfinished row.
#[derive(Default)]
pub(super) struct Row {
    pub(super) since: Progress,
    pub(super) lr_scale: f64,
    /// The sum of each loss, and the number of steps that computed it.
    sums: Vec<(&'static str, Tensor, u64)>,
    /// The sums of an earlier process, each added to its loss when the model next reports it.
    carried: BTreeMap<String, LossSum>,
}

impl Row {
    /// An empty row.
    pub(super) fn new(since: Progress) -> Self {
        Row { since, ..Row::default() }
    }

    /// The row for a checkpoint.
    pub(super) fn open(&self) -> OpenRow {
        let mut losses = self.carried.clone();
        let sums = self.sums.iter();
        losses.extend(
            sums.map(|(name, sum, steps)| ((*name).to_owned(), LossSum { sum: sum.double_value(&[]), steps: *steps })),
        );
        OpenRow { since: self.since, losses }
    }

    /// Continues a row from a checkpoint.
    pub(super) fn resume(row: OpenRow) -> Self {
        Row { since: row.since, carried: row.losses, ..Row::default() }
    }

    /// The sums of the losses.
    pub(super) fn sums(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        self.sums.iter().map(|(name, sum, _)| (*name, sum))
    }

    /// The mean of each of the losses `names` that a step computed.
    pub(super) fn means(&self, names: &[&'static str]) -> Vec<(&'static str, f64)> {
        let mean = |name: &&'static str| {
            let found = self.sums.iter().find(|(known, _, _)| known == name);
            let LossSum { sum, steps } = match found {
                Some((_, sum, steps)) => LossSum { sum: sum.double_value(&[]), steps: *steps },
                None => *self.carried.get(*name)?,
            };
            Some((*name, sum / steps as f64))
        };
        names.iter().filter_map(mean).collect()
    }

    /// Adds losses to the sums on their device, without waiting for their values.
    pub(super) fn add<'t>(&mut self, losses: impl Iterator<Item = (&'static str, &'t Tensor)>) {
        for (name, value) in losses {
            let value = value.to_kind(Kind::Double);
            match self.sums.iter_mut().find(|(known, _, _)| *known == name) {
                Some((_, sum, steps)) => {
                    *sum += value;
                    *steps += 1;
                }
                None => match self.carried.remove(name) {
                    Some(LossSum { sum, steps }) => self.sums.push((name, value + sum, steps + 1)),
                    None => self.sums.push((name, value, 1)),
                },
            }
        }
    }
}
