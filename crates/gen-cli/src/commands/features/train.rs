use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gen_core::number::fixed;
use gen_eval::features::{
    Classification, FeatureNetwork, FeatureRecord, FeatureTraining, SelfSupervision, Views, train,
    train_self_supervised,
};
use gen_run::write_atomically;
use tch::Device;

use crate::catalog;
use crate::device::Compute;
use crate::progress::Work;
use crate::spaces::{NetworkKind, RECORDS, Record, Records, sha256};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A data set: of a classifier, one with classes
    #[arg(long)]
    data: String,

    /// What it learns: classes, or what two views of an image have in common
    #[arg(long, value_enum, default_value_t = NetworkKind::Classifier)]
    kind: NetworkKind,

    /// The folder for KIND-NAME.safetensors and its table in features.toml; the program carries those that were in
    /// crates/gen-cli/features when it was built
    #[arg(long)]
    out: PathBuf,

    /// Passes over the training images [default: 12 of a classifier, 8 of a self-supervised network]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    epochs: Option<u64>,

    /// Images in a batch [default: 128, 256]
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..))]
    batch_size: Option<u64>,

    /// Peak learning rate of Adam [default: 0.003]
    #[arg(long)]
    learning_rate: Option<f64>,

    /// Shift images by up to so many pixels [default: 1, 2]
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=64))]
    shift: Option<u32>,

    /// Mirror half of the images
    #[arg(long)]
    flip: bool,

    /// Images with a small flaw (blur, a little noise), as a share of a batch [default: 0.25]
    #[arg(long, value_parser = share)]
    flaws: Option<f64>,

    /// Images made to be told from the real ones, as a share of a batch [default: 0.25]
    #[arg(long, value_parser = share)]
    outliers: Option<f64>,

    /// Of a classifier: dropout before the hidden layer [default: 0.3]
    #[arg(long, value_parser = share)]
    dropout: Option<f64>,

    /// The seed of all that is random
    #[arg(long, default_value_t = 0)]
    seed: u64,

    #[command(flatten)]
    compute: Compute,
}

/// A number from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a number from 0 to 1 is needed".to_owned()),
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // The networks are small: they are trained and used on the processor.
    args.compute.start()?;
    if args.kind == NetworkKind::SelfSupervised && args.dropout.is_some() {
        bail!("--dropout is of classifiers: a self-supervised network has none");
    }
    let data = catalog::load(&args.data)?.to_device(Device::Cpu);
    let defaults = match args.kind {
        NetworkKind::Classifier => FeatureTraining::default(),
        NetworkKind::SelfSupervised => FeatureTraining::self_supervised(),
    };
    let config = FeatureTraining {
        epochs: args.epochs.unwrap_or(defaults.epochs),
        batch_size: args.batch_size.map_or(defaults.batch_size, |size| size as usize),
        learning_rate: args.learning_rate.unwrap_or(defaults.learning_rate),
        flip: args.flip,
        flaws: args.flaws.unwrap_or(defaults.flaws),
        outliers: args.outliers.unwrap_or(defaults.outliers),
        seed: args.seed,
        ..defaults
    };
    let epoch = |number: u64| Work::on(format!("epoch {number} of {}", config.epochs));
    let mut work = Some(epoch(1));
    let tell = |record: FeatureRecord| {
        // A bar would be in the way of the line.
        drop(work.take());
        let accuracy =
            record.validation_accuracy.map(|share| format!(", {:.2} % on validation", 100.0 * share));
        crate::eprint(&format!(
            "epoch {} of {}: loss {}{}",
            record.epoch,
            config.epochs,
            fixed(record.loss, 4),
            accuracy.unwrap_or_default()
        ));
        work = (record.epoch < config.epochs).then(|| epoch(record.epoch + 1));
    };
    let network = match args.kind {
        NetworkKind::Classifier => {
            let Classification { shift, dropout } = Classification::default();
            let classification = Classification {
                shift: args.shift.map_or(shift, i64::from),
                dropout: args.dropout.unwrap_or(dropout),
            };
            train(&data, &config, &classification, tell)?
        }
        NetworkKind::SelfSupervised => {
            let defaults = SelfSupervision::default();
            let shift = args.shift.map_or(defaults.views.shift, f64::from);
            let supervision = SelfSupervision { views: Views { shift, ..defaults.views }, ..defaults };
            train_self_supervised(&data, &config, &supervision, tell)?
        }
    };
    keep(
        args,
        &data.spec.name,
        &data.spec.sha256,
        &network,
        match args.kind {
            NetworkKind::Classifier => {
                let _work = Work::on("accuracy on test images");
                Some(network.accuracy(&data.test)?)
            }
            NetworkKind::SelfSupervised => None,
        },
    )
}

/// Writes the network and what is known of it.
fn keep(
    args: &Args,
    name: &str,
    dataset_sha256: &str,
    network: &FeatureNetwork,
    test_accuracy: Option<f64>,
) -> anyhow::Result<()> {
    let bytes = network.to_safetensors()?;
    let record = Record {
        sha256: sha256(&bytes),
        dataset_sha256: dataset_sha256.to_owned(),
        test_accuracy,
        parameters: network.parameters(),
        command: command(args),
    };
    let file = args.out.join(args.kind.file(name));
    write_atomically(&file, |temporary| {
        std::fs::write(temporary, &bytes).map_err(gen_core::Error::io(&file))
    })?;
    note(&args.out.join(RECORDS), args.kind, name, &record)?;
    let accuracy = test_accuracy.map(|share| format!("{:.2} % on test: ", 100.0 * share));
    crate::eprint(&format!("{}{}", accuracy.unwrap_or_default(), file.display()));
    Ok(())
}

/// The command that makes the same network again, on the same kind of machine.
fn command(args: &Args) -> String {
    let threads = tch::get_num_threads();
    let mut command = format!(
        "gen features train --data {} --kind {} --out crates/gen-cli/features --threads {threads}",
        args.data, args.kind
    );
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            command.push_str(&format!(" --{name} {value}"));
        }
    };
    add("epochs", args.epochs.map(|value| value.to_string()));
    add("batch-size", args.batch_size.map(|value| value.to_string()));
    add("learning-rate", args.learning_rate.map(|value| value.to_string()));
    add("shift", args.shift.map(|value| value.to_string()));
    add("flaws", args.flaws.map(|value| value.to_string()));
    add("outliers", args.outliers.map(|value| value.to_string()));
    add("dropout", args.dropout.map(|value| value.to_string()));
    add("seed", Some(args.seed).filter(|seed| *seed != 0).map(|value| value.to_string()));
    if args.flip {
        command.push_str(" --flip");
    }
    command
}

/// Puts a record into the file, in place of an older one of the same kind and name.
fn note(path: &Path, kind: NetworkKind, name: &str, record: &Record) -> anyhow::Result<()> {
    let text = if path.exists() { std::fs::read_to_string(path)? } else { String::new() };
    let mut records: Records = toml::from_str(&text).with_context(|| path.display().to_string())?;
    records.entry(kind).or_default().insert(name.to_owned(), record.clone());
    let text = format!("# Written by `gen features train`.\n\n{}", toml::to_string_pretty(&records)?);
    write_atomically(path, |temporary| std::fs::write(temporary, &text).map_err(gen_core::Error::io(path)))?;
    Ok(())
}
