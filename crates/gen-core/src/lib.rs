#![doc = include_str!("../README.md")]

pub mod autograd;
pub mod config;
pub mod data;
pub mod distributions;
mod error;
pub mod fit;
pub mod model;
pub mod nn;
pub mod number;
pub mod ode;
pub mod optim;
pub mod params;
mod precision;
pub mod registry;
pub mod rng;
pub mod testing;
pub mod train;

pub use error::{Error, Result, nearest};
/// The native layer: fused kernels, autocast, MKL on AMD.
pub use gen_native as native;
pub use precision::{Precision, Region};
/// The `tch` release that these crates are built on. Its use ensures that tensors have the same type.
pub use tch;
