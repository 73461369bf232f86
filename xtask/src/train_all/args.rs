//! The arguments of `cargo xtask train-all`.

use crate::experiment::Places;

#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Args {
    /// The data set: a name from `gen data list`, folder:PATH, npy:PATH or csv:PATH
    #[arg(long, default_value = "fashion-mnist")]
    pub(super) data: String,

    /// The models; `gen list` shows them
    #[arg(long, value_delimiter = ',', default_value = "quick-gan,quick-vae,quick-flow,quick-diffusion")]
    pub(super) models: Vec<String>,

    /// How long each trains: 90s, 5m, 20000steps, 1Mimages, 10epochs
    #[arg(long, default_value = "3m")]
    pub(super) budget: String,

    /// The seeds; each model is trained once with each
    #[arg(long, value_delimiter = ',', default_value = "0")]
    pub(super) seeds: Vec<u64>,

    /// The folder in results; by default DATA-BUDGET
    #[arg(long)]
    pub(super) experiment: Option<String>,

    /// Change a setting of one model; may be repeated
    #[arg(long = "set", value_name = "MODEL.KEY=VALUE")]
    pub(super) set: Vec<String>,

    /// Samples that each model is evaluated with; by default as many as there are test images, up to 10000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) evaluate_n: Option<u64>,

    #[command(flatten)]
    pub(super) places: Places,
}
