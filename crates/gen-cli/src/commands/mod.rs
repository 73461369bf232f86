//! A file a command.

mod bench;
mod compare;
mod data;
mod evaluate;
mod features;
mod list;
mod sample;
mod train;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the models
    List(list::Args),
    /// Train a model on a data set
    Train(train::Args),
    /// Draw samples from a trained model
    Sample(sample::Args),
    /// Measure trained models, or the reference rows of a data set
    Evaluate(evaluate::Args),
    /// Put evaluated runs side by side: tables, figures and a report
    Compare(compare::Args),
    /// List, fetch, verify and preview data sets
    Data(data::Args),
    /// Train the feature networks that samples are measured with
    Features(features::Args),
    /// Answer timing requests on standard input; `cargo xtask bench` makes them
    Bench(bench::Args),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Command::List(args) => list::run(&args),
            Command::Train(args) => train::run(&args),
            Command::Sample(args) => sample::run(&args),
            Command::Evaluate(args) => evaluate::run(&args),
            Command::Compare(args) => compare::run(&args),
            Command::Data(args) => data::run(&args),
            Command::Features(args) => features::run(&args),
            Command::Bench(args) => bench::run(&args),
        }
    }
}
