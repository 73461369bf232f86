//! The identity of a model across seeds.

use gen_core::data::DataOptions;
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};
use serde::Serialize;

use crate::checksum::sha256;
use crate::config::RunConfig;

/// The hashed part of a configuration.
#[derive(Serialize)]
struct Identity<'a> {
    name: &'a str,
    model: &'a toml::Table,
    training: &'a TrainConfig,
    options: &'a DataOptions,
}

impl RunConfig {
    /// SHA-256, in hexadecimal, of the model, its hyperparameters, the training settings and the data options. Runs on
    /// the same data and budget with the same hash are seeds of one model.
    ///
    /// The hash excludes the seed, the budget, the data, the device and the versions, which a run records separately,
    /// and the sampling options, which an evaluation records.
    ///
    /// # Errors
    /// When TOML cannot represent the configuration.
    pub fn sha256(&self) -> Result<String> {
        let RunConfig { run, model, training, data, .. } = self;
        let identity = Identity { name: &run.model, model, training, options: &data.options };
        let text = toml::to_string(&identity)
            .map_err(|error| Error::invalid(format!("the configuration cannot be hashed: {error}")))?;
        Ok(sha256(text))
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use gen_core::data::Dataset;
    use gen_core::train::Budget;

    use super::*;
    use crate::RunInfo;

    fn config() -> RunConfig {
        RunConfig {
            run: RunInfo {
                model: "vae".to_owned(),
                family: "vae".to_owned(),
                dataset: "digits".to_owned(),
                budget: Budget::Steps(10),
                earlier_budgets: Vec::new(),
                seed: 0,
                device: "cpu".to_owned(),
                threads: 2,
                tool_version: "0.1.0".to_owned(),
                libtorch_version: "2.13.0".to_owned(),
            },
            model: toml::from_str("latent = 8\n[optimizer]\nlearning_rate = 1e-3\n").unwrap(),
            training: TrainConfig::default(),
            sampling: toml::Table::new(),
            data: Dataset::from_tensor("digits", Tensor::ones([4, 2], (Kind::Float, Device::Cpu))).unwrap().spec,
        }
    }

    #[test]
    fn only_settings_change_the_hash() {
        let hash = config().sha256().unwrap();
        assert_eq!(hash.len(), 64);
        let change = |change: &dyn Fn(&mut RunConfig)| {
            let mut config = config();
            change(&mut config);
            config.sha256().unwrap()
        };
        for same in [
            change(&|config| config.run.seed = 7),
            change(&|config| config.run.threads = 1),
            change(&|config| config.run.tool_version = "0.2.0".to_owned()),
            change(&|config| config.run.dataset = "../digits".to_owned()),
        ] {
            assert_eq!(same, hash);
        }
        for other in [
            change(&|config| config.run.model = "ae".to_owned()),
            change(&|config| drop(config.model.insert("latent".to_owned(), 16.into()))),
            change(&|config| config.training.batch_size = 7),
            change(&|config| config.training.precision = gen_core::Precision::Bf16),
            change(&|config| config.data.options.flip = true),
        ] {
            assert_ne!(other, hash);
        }
    }

    #[test]
    fn the_hash_survives_the_file() {
        let text = toml::to_string_pretty(&config()).unwrap();
        let read: RunConfig = toml::from_str(&text).unwrap();
        assert_eq!(read.sha256().unwrap(), config().sha256().unwrap());
    }
}
