//! A thin native layer: what libtorch has and `tch` does not hand on.
//!
//! It is the only crate of the workspace with `unsafe` code. `native/native.cpp` holds one small function a need; each
//! catches every C++ exception and returns its message, which becomes an error here. Pointers to tensors are valid
//! for the length of a call and are not kept.

mod autocast;
mod ffi;
pub mod mkl;
mod optim;
mod switches;

pub use autocast::{Autocast, AutocastDevice};
pub use optim::{AdamStep, adam_step, global_norm, lerp};
pub use switches::{MatmulPrecision, set_flush_denormal, set_matmul_precision};
