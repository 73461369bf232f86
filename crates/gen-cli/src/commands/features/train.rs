use std::path::{Path, PathBuf};

use anyhow::Context;
use gen_core::eval::features::{FeatureTraining, train};
use gen_core::run::write_atomically;
use tch::Device;

use crate::device::Compute;
use crate::spaces::{RECORDS, Record, sha256};
use crate::{catalog, spaces};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A data set with classes
    #[arg(long)]
    data: String,

    /// The folder for NAME.safetensors and its table in features.toml; the program carries those that were in
    /// crates/gen-cli/features when it was built
    #[arg(long)]
    out: PathBuf,

    /// Passes over the training images
    #[arg(long, default_value_t = FeatureTraining::default().epochs, value_parser = clap::value_parser!(u64).range(1..))]
    epochs: u64,

    /// Peak learning rate of Adam
    #[arg(long, default_value_t = FeatureTraining::default().learning_rate)]
    learning_rate: f64,

    /// Shift images by up to so many pixels
    #[arg(long, default_value_t = FeatureTraining::default().shift, value_parser = clap::value_parser!(i64).range(0..))]
    shift: i64,

    /// Mirror half of the images
    #[arg(long)]
    flip: bool,

    /// Dropout before the hidden layer
    #[arg(long, default_value_t = FeatureTraining::default().dropout)]
    dropout: f64,

    /// Images made to be told from the real ones, as a share of a batch
    #[arg(long, default_value_t = FeatureTraining::default().outliers)]
    outliers: f64,

    /// The seed of all that is random
    #[arg(long, default_value_t = 0)]
    seed: u64,

    #[command(flatten)]
    compute: Compute,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // The networks are small: they are trained and used on the processor.
    args.compute.start()?;
    let data = catalog::load(&args.data)?.to_device(Device::Cpu);
    let config = FeatureTraining {
        epochs: args.epochs,
        learning_rate: args.learning_rate,
        shift: args.shift,
        flip: args.flip,
        dropout: args.dropout,
        outliers: args.outliers,
        seed: args.seed,
        ..FeatureTraining::default()
    };
    let network = train(&data, &config, |record| {
        let accuracy =
            record.validation_accuracy.map(|share| format!(", {:.2} % on validation", 100.0 * share));
        crate::eprint(&format!(
            "epoch {} of {}: loss {:.4}{}",
            record.epoch,
            args.epochs,
            record.loss,
            accuracy.unwrap_or_default()
        ));
    })?;
    let bytes = network.to_safetensors()?;
    let record = Record {
        sha256: sha256(&bytes),
        dataset_sha256: data.spec.sha256.clone(),
        test_accuracy: network.accuracy(&data.test)?,
        parameters: network.parameters(),
        command: command(args),
    };
    let file = args.out.join(format!("{}.safetensors", data.spec.name.replace([':', '/', '\\'], "-")));
    write_atomically(&file, |temporary| {
        std::fs::write(temporary, &bytes).map_err(gen_core::Error::io(temporary))
    })?;
    note(&args.out.join(RECORDS), &data.spec.name, &record)?;
    crate::eprint(&format!("{:.2} % on test: {}", 100.0 * record.test_accuracy, file.display()));
    Ok(())
}

/// The command that makes the same network again, on the same kind of machine.
fn command(args: &Args) -> String {
    let FeatureTraining { epochs, learning_rate, shift, dropout, outliers, seed, .. } =
        FeatureTraining::default();
    let threads = tch::get_num_threads();
    let mut command =
        format!("gen features train --data {} --out crates/gen-cli/features --threads {threads}", args.data);
    let mut add = |name: &str, value: String, default: String| {
        if value != default {
            command.push_str(&format!(" --{name} {value}"));
        }
    };
    add("epochs", args.epochs.to_string(), epochs.to_string());
    add("learning-rate", args.learning_rate.to_string(), learning_rate.to_string());
    add("shift", args.shift.to_string(), shift.to_string());
    add("dropout", args.dropout.to_string(), dropout.to_string());
    add("outliers", args.outliers.to_string(), outliers.to_string());
    add("seed", args.seed.to_string(), seed.to_string());
    if args.flip {
        command.push_str(" --flip");
    }
    command
}

/// Puts a record into the file, in place of an older one of the same name.
fn note(path: &Path, name: &str, record: &spaces::Record) -> anyhow::Result<()> {
    let text = if path.exists() { std::fs::read_to_string(path)? } else { String::new() };
    let mut table: toml::Table = toml::from_str(&text).with_context(|| path.display().to_string())?;
    table.insert(name.to_owned(), toml::Value::try_from(record)?);
    let text = format!("# Written by `gen features train`.\n\n{}", toml::to_string_pretty(&table)?);
    write_atomically(path, |temporary| {
        std::fs::write(temporary, &text).map_err(gen_core::Error::io(temporary))
    })?;
    Ok(())
}
