//! The commands, one in each file, with its options and its help.

mod bench;
mod compare;
mod data;
mod density;
mod evaluate;
mod features;
mod info;
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
    List(list::Args),
    Info(info::Args),
    Train(train::Args),
    Sample(sample::Args),
    Interpolate(interpolate::Args),
    Trajectory(trajectory::Args),
    Latent(latent::Args),
    Density(density::Args),
    Nearest(nearest::Args),
    Ood(ood::Args),
    Evaluate(evaluate::Args),
    Compare(compare::Args),
    Data(data::Args),
    Features(features::Args),
    Bench(bench::Args),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Command::List(args) => list::run(&args),
            Command::Info(args) => info::run(&args),
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
