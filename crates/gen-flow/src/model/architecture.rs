use gen_core::Result;
use gen_core::data::DataSpec;
use gen_core::params::Params;
use gen_core::registry::Capabilities;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::design::Design;
use super::sampling::FlowSampling;

/// The hyperparameters of a kind of flow, and the flow that they describe.
pub trait Architecture: 'static {
    /// The hyperparameters.
    type Config: Serialize + DeserializeOwned;
    /// The sampling options.
    type Sampling: FlowSampling;

    /// The name, for messages.
    const NAME: &'static str;

    /// How many rows go through the flow together.
    const ROWS: RowsPerPass = RowsPerPass::DEFAULT;
    /// Importance samples of the tighter bound on the likelihood of bytes, where it is reported.
    const IMPORTANCE_SAMPLES: Option<u32> = Some(8);

    /// The flow with fresh weights, registered in `params`.
    ///
    /// # Errors
    /// When the configuration or the data shape is not possible; the message says what is.
    fn design(config: &Self::Config, params: &Params, data: &DataSpec) -> Result<Design>;
}

/// The abilities of most flows.
pub(crate) const FLOW: Capabilities = Capabilities { likelihood: true, latents: true, ..Capabilities::SAMPLES };

/// Those of flows that learn from conditions too.
pub(crate) const CONDITIONAL: Capabilities = Capabilities { labels: true, context: true, ..FLOW };

/// How many rows a pass takes: enough to keep the machine busy, few enough for memory.
#[derive(Debug, Clone, Copy)]
pub struct RowsPerPass {
    /// Images on a processor: few enough for its caches to hold their feature maps. Training steps keep to it too.
    pub images_in_cache: i64,
    /// Images elsewhere.
    pub images: i64,
    /// Rows of a table.
    pub tabular: i64,
}

impl RowsPerPass {
    /// For most flows.
    pub const DEFAULT: RowsPerPass = RowsPerPass { images_in_cache: 128, images: 500, tabular: 10_000 };
}
