use std::io::Write;

use crate::registry;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print the names alone, one a line
    #[arg(long)]
    names: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for entry in registry::models() {
        if args.names {
            writeln!(out, "{}", entry.name)?;
        } else {
            writeln!(out, "{:<12} {:<10} {}", entry.name, entry.family, entry.summary)?;
        }
    }
    Ok(())
}
