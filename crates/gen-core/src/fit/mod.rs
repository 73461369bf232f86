//! A trained model from a tensor in one call, and back from one file.

mod file;
mod fitted;

use tch::{Device, Tensor};

use crate::config::{self, Table, complete, from_table, to_table};
use crate::data::{Condition, Dataset, Split};
use crate::error::{Error, Result};
use crate::params::NamedTensors;
use crate::registry::{BuildContext, Buildable, Preset};
use crate::rng::{Purpose, permutation};
use crate::train::{Budget, LogRecord, TrainConfig, Trainer};

pub use fitted::Fitted;

/// Training with the defaults of a model: data standardised, a tenth of the rows for validation, early stopping, and
/// the weights of the best validation.
///
/// ```no_run
/// use gen_core::fit::Fit;
/// # use gen_core::{Result, registry::{Buildable, Preset}};
/// # fn fit<M: Buildable>(preset: &'static Preset<M>, table: &tch::Tensor) -> Result<()> {
///
/// let model = Fit::new(preset).budget("30s".parse()?).run(table)?;
/// let samples = model.sample(1000, 0)?;
/// let log_prob = model.log_prob(table)?;
/// model.save("model.safetensors")?;
/// # Ok(())
/// # }
/// ```
///
/// A [`Trainer`] gives control over each step.
#[derive(Debug)]
pub struct Fit<M: Buildable> {
    preset: &'static Preset<M>,
    budget: Budget,
    seed: u64,
    device: Device,
    condition: Condition,
    set: Vec<String>,
}

/// Validations in a training whose budget is a number of steps; other budgets have one for each row of the history.
const VALIDATIONS: u64 = 40;
/// Validations in a row without an improvement that end the training.
const PATIENCE: usize = 10;

impl<M: Buildable> Fit<M> {
    /// A training of at most 4000 steps on the processor, with seed 0.
    pub fn new(preset: &'static Preset<M>) -> Self {
        Fit {
            preset,
            budget: Budget::Steps(4000),
            seed: 0,
            device: Device::Cpu,
            condition: Condition::NONE,
            set: Vec::new(),
        }
    }

    /// The longest training. The learning rate follows it, so a training that stops early has not lowered it to its
    /// end.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Fit { budget, ..self }
    }

    /// The seed of all randomness.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Fit { seed, ..self }
    }

    /// The device of the model.
    #[must_use]
    pub fn device(self, device: Device) -> Self {
        Fit { device, ..self }
    }

    /// The class of each row, `i64 [n]` from 0 up, for models that learn from labels.
    #[must_use]
    pub fn labels(mut self, labels: &Tensor) -> Self {
        self.condition.labels = Some(labels.shallow_clone());
        self
    }

    /// What each row of the data is given. Models that do not learn from a part refuse it.
    #[must_use]
    pub fn given(self, condition: &Condition) -> Self {
        Fit { condition: condition.clone(), ..self }
    }

    /// Changes a setting of the model, its training or its sampling by `key=value`, as `gen train --set` does.
    #[must_use]
    pub fn set(mut self, assignment: &str) -> Self {
        self.set.push(assignment.to_owned());
        self
    }

    /// Trains on `x`: images `u8 [n, channels, height, width]`, or points `[n, dimension]` of floating-point numbers.
    ///
    /// # Errors
    /// When the model does not support the data or a setting, or the training diverges.
    pub fn run(self, x: &Tensor) -> Result<Fitted<M>> {
        self.run_observed(x, |_| ())
    }

    /// As [`Fit::run`], with a call of `observe` for each row of the history.
    ///
    /// # Errors
    /// As [`Fit::run`].
    pub fn run_observed(self, x: &Tensor, mut observe: impl FnMut(&LogRecord)) -> Result<Fitted<M>> {
        let preset = self.preset;
        preset.capabilities.check_given(preset.name, &self.condition)?;
        let whole = self.dataset(x, 0)?;
        let mut table = Table::new();
        table.insert("model".to_owned(), to_table(&preset.config(&whole.spec))?.into());
        table.insert("training".to_owned(), to_table(&preset.training(&whole.spec))?.into());
        table.insert("sampling".to_owned(), to_table(&preset.sampling(&whole.spec))?.into());
        self.set.iter().try_for_each(|assignment| config::set(&mut table, assignment, completed::<M>))?;
        let [config, training, sampling] = ["model", "training", "sampling"].map(|name| section(&table, name));
        let mut training: TrainConfig = from_table(&training)?;
        // Models without a validation loss train on all rows.
        let held_out = if training.validation_rows > 0 { whole.train.len() / 10 } else { 0 };
        let data = self.dataset(x, held_out)?;
        if data.validation.is_empty() {
            training.validation_rows = 0;
        } else {
            training.patience = PATIENCE;
        }
        if let Budget::Steps(steps) = self.budget {
            training.log_every = (steps / VALIDATIONS).max(1);
        }

        let context = BuildContext { data: data.spec.clone(), device: self.device, seed: self.seed };
        let mut model = preset.build(from_table(&config)?, &context)?;
        if self.condition.labels.is_some() && !model.card().conditioning.labels {
            return Err(Error::invalid(format!(
                "`{}` does not learn from labels with these settings: set `condition.labels` to true",
                preset.name
            )));
        }
        model.set_sampling_options(&sampling)?;
        let data = data.to_device(self.device);
        let mut trainer = Trainer::new(&mut model, &data, training, self.budget, self.seed)?;
        let mut best: Option<NamedTensors> = None;
        while let Some(record) = trainer.advance()? {
            observe(&record);
            if trainer.validate()?.is_some_and(|validation| validation.is_best) {
                let average = trainer.averaged_weights().map(NamedTensors::snapshot);
                best = Some(average.unwrap_or_else(|| trainer.model().weights().snapshot()));
            }
        }
        trainer.finish()?;
        if let Some(best) = best {
            model.weights().assign(&best)?;
        }
        Ok(Fitted::new(preset, model, config, sampling, data.spec))
    }

    /// The data with `held_out` rows for validation, drawn at random.
    fn dataset(&self, x: &Tensor, held_out: usize) -> Result<Dataset> {
        let rows = x.size().first().map_or(0, |n| *n as usize);
        let all = Split { x: x.shallow_clone(), condition: self.condition.clone() };
        let classes = match &self.condition.labels {
            Some(labels) if labels.numel() > 0 => {
                if labels.min().int64_value(&[]) < 0 {
                    return Err(Error::invalid("labels are numbers of classes from 0 up, found a negative one"));
                }
                (0..=labels.max().int64_value(&[])).map(|class| class.to_string()).collect()
            }
            _ => Vec::new(),
        };
        if self.condition.rows().is_some_and(|found| found != rows as i64) {
            return Dataset::from_splits("data", all, None, None, classes);
        }
        let order = permutation(rows, self.seed, Purpose::Data, 0);
        let (validation, train) = order.split_at(held_out.min(rows));
        let validation = (!validation.is_empty()).then(|| all.select(validation));
        let train = if held_out == 0 { all } else { all.select(train) };
        Dataset::from_splits("data", train, validation, None, classes)
    }
}

fn section(table: &Table, name: &str) -> Table {
    table.get(name).and_then(|section| section.as_table()).cloned().unwrap_or_default()
}

/// Fills in the defaults of the choices of a model and of its sampling.
fn completed<M: Buildable>(table: &Table) -> Result<Table> {
    let mut table = table.clone();
    let model = complete::<M::Config>(&section(&table, "model"))?;
    let sampling = complete::<M::Sampling>(&section(&table, "sampling"))?;
    table.insert("model".to_owned(), model.into());
    table.insert("sampling".to_owned(), sampling.into());
    Ok(table)
}
