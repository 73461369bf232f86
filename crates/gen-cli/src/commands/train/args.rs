//! The options of `gen train`.

use std::path::PathBuf;

use gen_core::Precision;
use gen_core::train::Budget;

use crate::arguments;
use crate::device::Compute;
use crate::progress::Style;

/// Train a model on a data set
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The model; `gen list` shows them
    #[arg(required_unless_present_any = ["resume", "config"])]
    pub(super) model: Option<String>,

    /// The data set: a name from `gen data list`, folder:PATH, npy:PATH or csv:PATH (`gen data --help` has their
    /// options). With --resume its new place, if it has moved
    #[arg(long, required_unless_present_any = ["resume", "config"])]
    pub(super) data: Option<String>,

    /// The budget: 90s, 5m, 20000steps, 1Mimages, 10epochs. With --resume the whole budget, with the part that is used
    #[arg(long, required_unless_present_any = ["resume", "config"], allow_hyphen_values = true)]
    pub(super) budget: Option<Budget>,

    /// The seed of all random numbers [default: 0]
    #[arg(long, value_parser = arguments::seed)]
    pub(super) seed: Option<u64>,

    /// The run folder
    #[arg(long, required_unless_present = "resume")]
    pub(super) out: Option<PathBuf>,

    /// Change a setting of the model, the training or the data; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,

    /// A TOML file of settings, in the form of a run's config.toml; the config.toml of a run repeats it. Options and
    /// --set win over it
    #[arg(long)]
    pub(super) config: Option<PathBuf>,

    /// Continue the run in --out, or in RUN, from its latest checkpoint. Options that are not given keep their values.
    /// A longer --budget continues a finished run: the learning rate then follows the schedule of the longer budget
    #[arg(long, value_name = "RUN", num_args = 0..=1)]
    pub(super) resume: Option<Option<PathBuf>>,

    /// The interval between checkpoints, besides those after each tenth of the budget and each validation: 60s,
    /// 500steps, 2epochs
    #[arg(long, value_name = "INTERVAL", default_value = "5m")]
    pub(super) checkpoint_every: Budget,

    /// Check the settings and print them, in the form of config.toml, without training or writing anything
    #[arg(long)]
    pub(super) dry_run: bool,

    /// The form of progress
    #[arg(long, value_enum, default_value_t = Style::Auto)]
    pub(super) progress: Style,

    /// The precision of convolutions and linear layers: f32, or bf16, which is faster and less exact
    #[arg(long)]
    pub(super) precision: Option<Precision>,

    #[command(flatten)]
    pub(super) compute: Compute,
}
