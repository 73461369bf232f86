#![doc = include_str!("../README.md")]

pub mod base;
pub mod bijection;
pub mod conditioner;
mod conditions;
pub mod dequantise;
mod ffjord;
mod flow;
mod flow_plus_plus;
mod given;
mod glow;
mod guidance;
mod images;
mod maf;
mod model;
mod nsf;
mod realnvp;
mod residual_flow;
mod rows;
mod settings;
mod tabular;
pub mod tarflow;
mod tensor;
pub mod univariate;

pub use ffjord::{Ffjord, FfjordConfig, FreeForm};
pub use flow::Flow;
pub use flow_plus_plus::{FlowPlusPlus, FlowPlusPlusConfig, MixtureCouplings};
/// The crate that this one builds on: data, the training loop, `tch` itself.
pub use gen_core;
use gen_core::registry::ModelEntry;
pub use given::Given;
pub use glow::{Glow, GlowConfig, GlowSteps};
pub use guidance::{Guidance, Weaker};
pub use images::{AffineSteps, Dequantisation, MultiScale, Pixels};
pub use maf::{AffineAutoregressive, Iaf, InverseAutoregressive, Maf, MafConfig};
pub use model::{Architecture, Design, FlowModel, FlowSampling, RowsPerPass, SamplePlan};
pub use nsf::{Nsf, NsfAr, NsfConfig, SplineAutoregressive, SplineConfig, SplineCouplings, SplineImageConfig};
pub use realnvp::{AffineCouplings, ImageConfig, RealNvp, RealNvpConfig, TabularConfig};
pub use residual_flow::{Determinant, ResidualBlocks, ResidualFlow, ResidualFlowConfig};
pub use tarflow::{TarFlow, TarFlowConfig, TarFlowSampling, Transformers};

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
