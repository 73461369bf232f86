mod check;
mod train;

use std::io::Write;

use clap::Subcommand;

use crate::spaces;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the networks that the program carries
    List,
    /// Train a network on the classes of a data set
    Train(train::Args),
    /// Measure known distortions of a data set in its feature spaces: a table in Markdown
    Check(check::Args),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.action {
        Action::List => list(),
        Action::Train(args) => train::run(args),
        Action::Check(args) => check::run(args),
    }
}

fn list() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (name, record) in spaces::records()? {
        let accuracy = 100.0 * record.test_accuracy;
        writeln!(out, "{name:<14} {accuracy:.2} % on test  {} parameters", record.parameters)?;
        writeln!(out, "{:<14} sha256 {}", "", record.sha256)?;
        writeln!(out, "{:<14} {}", "", record.command)?;
    }
    Ok(())
}
