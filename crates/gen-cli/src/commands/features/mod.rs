mod agree;
mod check;
mod ladder;
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
    /// Train a network on a data set: on its classes, or on its images alone
    Train(train::Args),
    /// Measure known distortions of a data set in its feature spaces, as tables in Markdown, and hold the spaces against
    /// what has to be true of them
    Check(check::Args),
    /// Whether the two spaces of evaluated runs put them in the same order, as a table in Markdown
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
    let mut out = std::io::stdout().lock();
    for (kind, networks) in spaces::records()? {
        for (name, record) in networks {
            let accuracy = record.test_accuracy.map(|share| format!("{:.2} % on test  ", 100.0 * share));
            let accuracy = accuracy.unwrap_or_default();
            writeln!(out, "{kind:<16} {name:<14} {accuracy}{} parameters", record.parameters)?;
            writeln!(out, "{:<31} sha256 {}", "", record.sha256)?;
            writeln!(out, "{:<31} {}", "", record.command)?;
        }
    }
    Ok(())
}
