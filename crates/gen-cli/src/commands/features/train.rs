use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gen_core::number::fixed;
use gen_data::sha256;
use gen_eval::features::{
    Classification, FeatureNetwork, FeatureRecord, FeatureTraining, SelfSupervision, Views, train,
    train_self_supervised,
};
use tch::Device;

use crate::device::Compute;
use crate::networks::{NetworkKind, RECORDS, Record, Records};
use crate::progress::Work;
use crate::{arguments, catalog, files, message};

/// Train a network on a data set: on its classes, or on its images alone
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The data set; a classifier needs one with classes
    #[arg(long)]
    data: String,

    /// The training signal
    #[arg(long, value_enum, default_value_t = NetworkKind::Classifier)]
    kind: NetworkKind,

    /// The folder for KIND-NAME.safetensors and its table in features.toml. The networks in crates/gen-cli/features are
    /// built into the program
    #[arg(long)]
    out: PathBuf,

    /// Passes over the training images [default: 12 for a classifier, 8 for a self-supervised network]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    epochs: Option<u64>,

    /// Images in a batch [default: 128 for a classifier, 256 for a self-supervised network]
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..))]
    batch_size: Option<u64>,

    /// Peak learning rate of Adam [default: 0.003]
    #[arg(long)]
    learning_rate: Option<f64>,

    /// The largest shift of an image in pixels [default: 1 for a classifier, 2 for a self-supervised network]
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=64))]
    shift: Option<u32>,

    /// Mirror half of the images
    #[arg(long)]
    flip: bool,

    /// The share of a batch that are images with a small flaw (blur, a little noise) [default: 0.25]
    #[arg(long, value_parser = arguments::share)]
    flaws: Option<f64>,

    /// The share of a batch that are artificial images, to be told from the real ones [default: 0.25]
    #[arg(long, value_parser = arguments::share)]
    outliers: Option<f64>,

    /// The dropout before the hidden layer of a classifier [default: 0.3]
    #[arg(long, value_parser = arguments::share)]
    dropout: Option<f64>,

    /// The seed of all that is random
    #[arg(long, default_value_t = 0, value_parser = arguments::seed)]
    seed: u64,

    #[command(flatten)]
    compute: Compute,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // The networks are small: the processor is fast enough.
    args.compute.start()?;
    if args.kind == NetworkKind::SelfSupervised && args.dropout.is_some() {
        bail!("--dropout is for classifiers: a self-supervised network has none");
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
        // The bar is removed before the line is printed.
        drop(work.take());
        let accuracy = record.validation_accuracy.map(|share| format!(", {:.2} % on validation", 100.0 * share));
        message::tell(format!(
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
            let classification =
                Classification { shift: args.shift.map_or(shift, i64::from), dropout: args.dropout.unwrap_or(dropout) };
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

/// Writes the network and its record.
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
    files::write_bytes(&file, &bytes)?;
    note(&args.out.join(RECORDS), args.kind, name, &record)?;
    let accuracy = test_accuracy.map(|share| format!("{:.2} % on test: ", 100.0 * share));
    message::tell(format!("{}{}", accuracy.unwrap_or_default(), file.display()));
    Ok(())
}

/// The command that trains the same network again on the same kind of machine.
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

/// Adds a record to the file, in place of an older one of the same kind and name.
fn note(path: &Path, kind: NetworkKind, name: &str, record: &Record) -> anyhow::Result<()> {
    let text = if path.exists() { std::fs::read_to_string(path)? } else { String::new() };
    let mut records: Records = toml::from_str(&text).with_context(|| path.display().to_string())?;
    records.entry(kind).or_default().insert(name.to_owned(), record.clone());
    let text = format!("# Written by `gen features train`.\n\n{}", toml::to_string_pretty(&records)?);
    Ok(files::write_bytes(path, text)?)
}
