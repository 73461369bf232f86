//! A flow as a model that is trained and sampled: the same for every architecture.

mod architecture;
mod density;
mod design;
mod flow_model;
mod latent;
mod plan;
mod sampling;

pub use architecture::{Architecture, RowsPerPass};
pub(crate) use architecture::{CONDITIONAL, FLOW};
pub use design::Design;
pub use flow_model::FlowModel;
pub use plan::SamplePlan;
pub use sampling::FlowSampling;
