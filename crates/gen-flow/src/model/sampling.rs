use gen_core::Result;
use gen_core::data::DataSpec;
use gen_core::model::OnePass;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::design::Design;
use super::plan::SamplePlan;

/// The sampling options of a kind of flow.
pub trait FlowSampling: Clone + Serialize + DeserializeOwned {
    /// The options that a flow of this kind of data has when it is built.
    fn of(data: &DataSpec) -> Self;

    /// How a flow of this design draws samples with these options.
    ///
    /// # Errors
    /// When an option is out of range, or the design cannot honour it.
    fn plan(&self, design: &Design) -> Result<SamplePlan>;
}

impl FlowSampling for OnePass {
    fn of(_data: &DataSpec) -> Self {
        OnePass::default()
    }

    fn plan(&self, _design: &Design) -> Result<SamplePlan> {
        let OnePass { temperature } = self.checked()?;
        Ok(SamplePlan { temperature, guidance: None, denoises: false })
    }
}
