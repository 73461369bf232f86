#![doc = include_str!("../README.md")]

pub mod base;
pub mod bijection;
pub mod conditioner;
pub mod dequantise;
mod flow;
mod realnvp;
mod tarflow;
pub mod univariate;

pub use flow::Flow;
/// What this crate builds on: data, the training loop, `tch` itself.
pub use gen_core;
use gen_core::model::ModelEntry;
pub use realnvp::{ImageConfig, PointConfig, RealNvp, RealNvpConfig};
pub use tarflow::{
    BlockSize, Direction, Guidance, Noise, TarFlow, TarFlowConfig, TransformerBlock, Weaker,
};

/// The models of this family.
pub const MODELS: &[ModelEntry] = &[ModelEntry::of::<RealNvp>(), ModelEntry::of::<TarFlow>()];
