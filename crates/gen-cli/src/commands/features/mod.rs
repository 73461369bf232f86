mod agree;
mod check;
mod ladder;
mod train;

use std::io::Write;

use clap::Subcommand;
use gen_report::aligned;

use crate::networks;

/// List, train and check the feature networks that samples are measured with
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the built-in networks
    List,
    Train(train::Args),
    Check(check::Args),
    Agree(agree::Args),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.action {
        Action::List => list(),
        Action::Train(args) => train::run(args),
        Action::Check(args) => check::run(args),
        Action::Agree(args) => agree::run(args),
    }
}

fn list() -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for (kind, networks) in networks::records()? {
        for (name, record) in networks {
            let accuracy = record.test_accuracy.map(|share| format!("{:.2} % on test  ", 100.0 * share));
            let facts = format!("{}{} parameters", accuracy.unwrap_or_default(), record.parameters);
            rows.push([kind.to_string(), name, facts]);
            rows.push([String::new(), String::new(), format!("sha256 {}", record.sha256)]);
            rows.push([String::new(), String::new(), record.command]);
        }
    }
    Ok(std::io::stdout().lock().write_all(aligned(rows, |_| false).as_bytes())?)
}
