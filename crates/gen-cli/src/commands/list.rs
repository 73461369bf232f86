use std::io::Write;

use gen_core::Error;
use gen_core::registry::ModelEntry;
use gen_report::aligned;
use serde_json::json;

use crate::{catalog, registry};

/// List the models
///
/// Each has its name, its family, whether it is the model of a paper or one of the house, and what it is.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only models of this family
    #[arg(long)]
    family: Option<String>,

    /// Only models that learn this data set
    #[arg(long)]
    data: Option<String>,

    /// Print only the names, one on each line
    #[arg(long, conflicts_with = "json")]
    names: bool,

    /// Print JSON, with the source and the abilities of each model
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let models = chosen(args)?;
    let text: String = match (args.json, args.names) {
        (true, _) => {
            let models: Vec<_> = models.iter().map(of_model).collect();
            serde_json::to_string_pretty(&models)? + "\n"
        }
        (_, true) => models.iter().map(|entry| format!("{}\n", entry.name)).collect(),
        _ => aligned(models.iter().map(|entry| [entry.name, entry.family, entry.origin.name(), entry.summary]), |_| {
            false
        }),
    };
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

fn chosen(args: &Args) -> anyhow::Result<Vec<ModelEntry>> {
    let mut models = registry::models();
    if let Some(family) = &args.family {
        let families: std::collections::BTreeSet<_> = models.iter().map(|entry| entry.family).collect();
        if !families.contains(family.as_str()) {
            return Err(Error::unknown("family", family, families).into());
        }
        models.retain(|entry| entry.family == family);
    }
    if let Some(data) = &args.data {
        let shape = catalog::shape(data)?;
        models.retain(|entry| entry.capabilities.learns(shape));
    }
    Ok(models)
}

/// A model as JSON.
pub(super) fn of_model(entry: &ModelEntry) -> serde_json::Value {
    json!({
        "name": entry.name,
        "family": entry.family,
        "summary": entry.summary,
        "origin": entry.origin,
        "citation": entry.citation,
        "departures": entry.departures,
        "capabilities": entry.capabilities,
    })
}
