#![doc = include_str!("../README.md")]

pub mod base;
pub mod bijection;
pub mod conditioner;
pub mod dequantise;
mod ffjord;
mod flow;
mod flow_plus_plus;
mod glow;
mod images;
mod maf;
mod model;
mod nsf;
mod points;
mod realnvp;
mod residual_flow;
mod rows;
pub mod tarflow;
pub mod univariate;

pub use ffjord::{Ffjord, FfjordConfig, FreeForm};
pub use flow::Flow;
pub use flow_plus_plus::{FlowPlusPlus, FlowPlusPlusConfig, MixtureCouplings};
/// What this crate builds on: data, the training loop, `tch` itself.
pub use gen_core;
use gen_core::registry::ModelEntry;
pub use glow::{Glow, GlowConfig, GlowSteps};
pub use images::{Dequantisation, Pixels};
pub use maf::{AffineAutoregressive, Iaf, InverseAutoregressive, Maf, MafConfig};
pub use model::{Architecture, Design, FlowModel};
pub use nsf::{
    Nsf, NsfAr, NsfConfig, SplineAutoregressive, SplineConfig, SplineCouplings, SplineImageConfig,
};
pub use realnvp::{AffineCouplings, ImageConfig, PointConfig, RealNvp, RealNvpConfig};
pub use residual_flow::{Determinant, ResidualBlocks, ResidualFlow, ResidualFlowConfig};
pub use tarflow::{TarFlow, TarFlowConfig};

/// The models of this family.
pub const MODELS: &[ModelEntry] = &[
    ModelEntry::of::<RealNvp>(),
    ModelEntry::of::<Nsf>(),
    ModelEntry::of::<NsfAr>(),
    ModelEntry::of::<Maf>(),
    ModelEntry::of::<Iaf>(),
    ModelEntry::of::<Ffjord>(),
    ModelEntry::of::<ResidualFlow>(),
    ModelEntry::of::<Glow>(),
    ModelEntry::of::<FlowPlusPlus>(),
    ModelEntry::of::<TarFlow>(),
];
