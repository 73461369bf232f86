use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use gen_core::config::to_table;
use gen_core::data::{PointSet, Shape};
use gen_core::model::{GenerativeModel, SampleRequest};
use gen_core::params::NamedTensors;
use gen_core::registry::{BuildContext, Capabilities, ModelEntry, Origin};
use gen_report::aligned;
use gen_run::RunFolder;
use tch::Device;
use toml::Table;

use crate::trained::Trained;
use crate::{catalog, registry};

/// Show a model with its default settings, or a run
///
/// Settings are printed as TOML, in the form of --config.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A model of `gen list`, or the folder of a run
    model: PathBuf,

    /// The data set for which a model has its defaults [default: digits, or moons for models of points]
    #[arg(long)]
    data: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let text = match args.model.to_str().and_then(|name| registry::models().into_iter().find(|m| m.name == name)) {
        Some(entry) => of_entry(&entry, args.data.as_deref())?,
        None if args.model.is_dir() => of_run(&args.model)?,
        None => registry::find(&args.model.to_string_lossy()).map(|_| String::new())?,
    };
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

fn of_entry(entry: &ModelEntry, data: Option<&str>) -> anyhow::Result<String> {
    let default = if entry.capabilities.images { "digits" } else { PointSet::Moons.name() };
    let data = catalog::load(data.unwrap_or(default))?.spec;
    let context = BuildContext { data: data.clone(), device: Device::Cpu, seed: 0 };
    let config = entry.default_config(&data)?;
    let model = entry.build(&config, &context)?;
    let mut table = Table::new();
    table.insert("model".to_owned(), config.into());
    table.insert("training".to_owned(), to_table(&entry.default_training(&data))?.into());
    table.insert("sampling".to_owned(), entry.default_sampling(&data)?.into());
    let mut facts = vec![
        ["model".to_owned(), entry.name.to_owned()],
        ["family".to_owned(), entry.family.to_owned()],
        ["summary".to_owned(), entry.summary.to_owned()],
        [
            match entry.origin {
                Origin::Paper => "paper".to_owned(),
                Origin::House => "sources".to_owned(),
            },
            entry.citation.to_owned(),
        ],
    ];
    facts.extend(entry.departures.iter().map(|departure| ["departure".to_owned(), (*departure).to_owned()]));
    facts.extend([
        ["abilities".to_owned(), abilities(&entry.capabilities)],
        ["defaults for".to_owned(), format!("{}, {}", data.name, shape(data.shape))],
    ]);
    page(&facts, model.as_ref(), "", &table)
}

fn of_run(path: &Path) -> anyhow::Result<String> {
    let folder = RunFolder::open(path)?;
    let has_saved = folder.has_saved();
    let (model, progress, folder) = if has_saved {
        let Trained { folder, model, progress, .. } = Trained::load(folder, false, Device::Cpu)?;
        (model, Some(progress), folder)
    } else {
        (folder.build(&registry::models(), Device::Cpu)?, None, folder)
    };
    let config = folder.config();
    let mut facts = vec![
        ["run".to_owned(), folder.name()],
        ["model".to_owned(), format!("{} ({})", config.run.model, model.card().citation)],
        ["data".to_owned(), format!("{}, {}", config.run.dataset, shape(config.data.shape))],
        ["budget".to_owned(), format!("{}, seed {}", config.run.budget, config.run.seed)],
        ["abilities".to_owned(), abilities_of(model.as_ref())?],
    ];
    facts.push(match progress {
        Some(progress) => ["trained".to_owned(), format!("{} steps in {:.1} s", progress.step, progress.seconds)],
        None => ["trained".to_owned(), "nothing is saved yet".to_owned()],
    });
    let mut table = Table::new();
    table.insert("model".to_owned(), config.model.clone().into());
    table.insert("training".to_owned(), to_table(&config.training)?.into());
    table.insert("sampling".to_owned(), model.sampling_options(&SampleRequest::new(0, 0))?.into());
    table.insert(
        "data".to_owned(),
        Table::from_iter([("options".to_owned(), to_table(&config.data.options)?.into())]).into(),
    );
    page(&facts, model.as_ref(), &evaluation(path)?, &table)
}

/// Facts, parameters by module, the evaluation and settings.
fn page(
    facts: &[[String; 2]],
    model: &dyn GenerativeModel,
    evaluation: &str,
    settings: &Table,
) -> anyhow::Result<String> {
    let mut text = aligned(facts.iter().cloned(), |_| false);
    text += "\nparameters\n";
    text += &aligned(modules(model), |column| column == 1);
    text += evaluation;
    write!(text, "\n{}", toml::to_string_pretty(settings).context("settings")?)?;
    Ok(text)
}

/// The number of parameters of each module, largest parts of names first, and of all together.
fn modules(model: &dyn GenerativeModel) -> Vec<[String; 2]> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut add = |prefix: &str, tensors: &NamedTensors| {
        for (name, tensor) in tensors.iter().filter(|(_, tensor)| tensor.requires_grad()) {
            let module = name.split('.').next().unwrap_or(name);
            *counts.entry(format!("{prefix}{module}")).or_default() += tensor.numel();
        }
    };
    add("", &model.weights());
    add("training: ", &model.training_state());
    let all = model.card().parameters;
    let rows = counts.into_iter().map(|(module, count)| [module, count.to_string()]);
    rows.chain([["all".to_owned(), all.to_string()]]).collect()
}

fn shape(shape: Shape) -> String {
    match shape {
        Shape::Image { channels, height, width } => format!("images of {height}x{width}x{channels}"),
        Shape::Points { dimension } => format!("points of {dimension} columns"),
    }
}

fn abilities(capabilities: &Capabilities) -> String {
    let Capabilities { images, points, labels, pairs, context, likelihood, latents, samplers } = capabilities;
    let named = [
        (*images, "images"),
        (*points, "points"),
        (*labels, "labels"),
        (*pairs, "pairs"),
        (*context, "context"),
        (*likelihood, "likelihood"),
        (*latents, "latents"),
    ];
    let mut all: Vec<String> = named.into_iter().filter(|(has, _)| *has).map(|(_, name)| name.to_owned()).collect();
    if !samplers.is_empty() {
        all.push(format!("samplers {}", samplers.join(" and ")));
    }
    all.join(", ")
}

/// The abilities of a model as it is built.
fn abilities_of(model: &dyn GenerativeModel) -> anyhow::Result<String> {
    let mut all = Vec::new();
    if let Some(density) = model.density() {
        let kinds: Vec<String> = density.kinds().iter().map(ToString::to_string).collect();
        all.push(format!("likelihood ({})", kinds.join(", ")));
    }
    if let Some(latent) = model.latent() {
        all.push(format!("latents of {:?}", latent.latent_shape()));
    }
    if let Some(sampler) = model.sampling(&SampleRequest::new(0, 0))?.sampler {
        all.push(format!("sampler {sampler}"));
    }
    Ok(if all.is_empty() { "samples".to_owned() } else { all.join(", ") })
}

/// The columns of `metrics.csv` that are shown.
const SHOWN: [&str; 3] = ["metric", "space", "value"];

/// The numbers of a run's `metrics.csv` as a table with a heading; empty where there are none.
fn evaluation(path: &Path) -> anyhow::Result<String> {
    let file = path.join("metrics.csv");
    if !file.exists() {
        return Ok(String::new());
    }
    let mut rows = Vec::new();
    for row in csv::Reader::from_path(&file).with_context(|| file.display().to_string())?.deserialize() {
        let mut row: BTreeMap<String, String> = row?;
        rows.push(SHOWN.map(|column| row.remove(column).unwrap_or_default()));
    }
    Ok(format!("\nevaluation\n{}", aligned(rows, |column| column == 2)))
}
