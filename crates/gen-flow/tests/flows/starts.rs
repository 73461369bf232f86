//! The first steps of a model, in which what starts from a batch can fail.

use gen_core::data::Dataset;
use gen_core::registry::{BuildContext, ModelEntry};
use gen_core::train::{Budget, TrainConfig, Trainer};
use tch::Device;

/// The first three steps of a model with its settings and so many rows a batch have a loss that is finite.
#[track_caller]
pub(crate) fn assert_starts(entry: &ModelEntry, data: &Dataset, rows: usize) {
    tch::set_num_threads(1);
    let config = entry.default_config(&data.spec).expect("a configuration");
    let context = BuildContext { data: data.spec.clone(), device: Device::Cpu, seed: 0 };
    let mut model = entry.build(&config, &context).expect("a model");
    let training = TrainConfig { batch_size: rows, log_every: 1, ..entry.default_training(&data.spec) };
    let mut trainer = Trainer::new(model.as_mut(), data, training, Budget::Steps(3), 1).expect("a training");
    for step in 1..=3 {
        // A loss that is not finite is an error.
        let row = trainer.advance();
        assert!(matches!(row, Ok(Some(_))), "{} of {}, step {step}: {row:?}", entry.name, data.spec.name);
    }
}
