#![doc = include_str!("../README.md")]

pub mod base;
pub mod bijection;
pub mod conditioner;
pub mod dequantise;
mod ffjord;
mod flow;
mod model;
mod realnvp;
mod residual_flow;
mod rows;
pub mod univariate;

pub use ffjord::{Ffjord, FfjordConfig, FreeForm};
pub use flow::Flow;
/// What this crate builds on: data, the training loop, `tch` itself.
pub use gen_core;
use gen_core::model::ModelEntry;
pub use model::{Architecture, Design, FlowModel};
pub use realnvp::{AffineCouplings, ImageConfig, PointConfig, RealNvp, RealNvpConfig};
pub use residual_flow::{Determinant, ResidualBlocks, ResidualFlow, ResidualFlowConfig};

/// The models of this family.
pub const MODELS: &[ModelEntry] =
    &[ModelEntry::of::<RealNvp>(), ModelEntry::of::<Ffjord>(), ModelEntry::of::<ResidualFlow>()];
