//! A file a command.

mod bench;
mod compare;
mod data;
mod density;
mod evaluate;
mod features;
mod interpolate;
mod latent;
mod list;
mod nearest;
mod ood;
mod sample;
mod train;
mod trajectory;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the models
    List(list::Args),
    /// Train a model on a data set
    Train(train::Args),
    /// Draw samples from a trained model
    Sample(sample::Args),
    /// Draw the way between two codes of a trained model's latent space
    Interpolate(interpolate::Args),
    /// Draw how samples come to be: the states between noise and data
    Trajectory(trajectory::Args),
    /// Draw a map of a trained model's latent space, coloured by class
    Latent(latent::Args),
    /// Draw the density that a trained model of points in the plane has learned
    Density(density::Args),
    /// Draw samples beside the training images that are nearest to them
    Nearest(nearest::Args),
    /// Tell a trained model's own data from other data by its likelihood
    Ood(ood::Args),
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
            Command::Interpolate(args) => interpolate::run(&args),
            Command::Trajectory(args) => trajectory::run(&args),
            Command::Latent(args) => latent::run(&args),
            Command::Density(args) => density::run(&args),
            Command::Nearest(args) => nearest::run(&args),
            Command::Ood(args) => ood::run(&args),
            Command::Evaluate(args) => evaluate::run(&args),
            Command::Compare(args) => compare::run(&args),
            Command::Data(args) => data::run(&args),
            Command::Features(args) => features::run(&args),
            Command::Bench(args) => bench::run(&args),
        }
    }
}
