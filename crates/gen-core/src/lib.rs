//! What every family of generative models needs: data in memory, layers, optimizers, one training loop,
//! evaluation and run records.
//!
//! Each family lives in a crate of its own that depends on this one; this one knows no family.
//!
#![doc = include_str!("../README.md")]

#[cfg(any(feature = "datasets", feature = "runs"))]
mod checksum;
pub mod config;
pub mod data;
mod error;
pub mod eval;
pub mod model;
pub mod nn;
pub mod number;
pub mod ode;
pub mod optim;
pub mod params;
mod precision;
pub mod rng;
#[cfg(feature = "runs")]
pub mod run;
#[cfg(feature = "pytorch-files")]
pub mod state_dict;
pub mod testing;
pub mod train;

pub use error::{Error, Result, nearest};
/// The native layer: fused kernels, autocast, MKL on AMD.
pub use gen_native as native;
pub use precision::{Precision, Region};
/// The `tch` that these crates are built on; use this one, so that tensors are of the same type.
pub use tch;
