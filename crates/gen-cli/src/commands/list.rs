use std::io::Write;

use crate::registry;
use gen_report::aligned;

/// List the models
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print only the names, one on each line
    #[arg(long)]
    names: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let models = registry::models();
    let text: String = match args.names {
        true => models.iter().map(|entry| format!("{}\n", entry.name)).collect(),
        false => aligned(models.iter().map(|entry| [entry.name, entry.family, entry.summary]), |_| false),
    };
    Ok(out.write_all(text.as_bytes())?)
}
