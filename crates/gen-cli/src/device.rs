//! Where libtorch computes.

use std::fmt;

use clap::{Args, ValueEnum};
use gen_core::native::{MatmulPrecision, mkl, set_matmul_precision};
use gen_core::{Error, Result};
use tch::{Cuda, Device};

/// Options of every command that computes.
#[derive(Args, Debug, Clone, Copy)]
pub(crate) struct Compute {
    /// Where to compute
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    device: Choice,

    /// Threads that libtorch uses; 0 is one for each core
    #[arg(long, default_value_t = 0)]
    threads: i32,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// A GPU if there is one
    Auto,
    Cpu,
    Cuda,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Choice::Auto => "auto",
            Choice::Cpu => "cpu",
            Choice::Cuda => "cuda",
        })
    }
}

/// The largest relative error of a matrix product of `f32` that is no mistake.
const LARGEST_ERROR: f64 = 1e-4;

impl Compute {
    /// Sets the number of threads, chooses the device and checks that it multiplies.
    pub(crate) fn start(self) -> Result<Device> {
        match self.threads {
            0 => {}
            1.. => tch::set_num_threads(self.threads),
            _ => return Err(Error::invalid(format!("--threads takes 0 or more, found {}", self.threads))),
        }
        let error = if mkl::is_taken_for_intel() { mkl::check() } else { 0.0 };
        if error.is_nan() || error > LARGEST_ERROR {
            return Err(Error::invalid(format!(
                "matrix products are off by a share of {error:.1e} on this processor: set {}=0",
                mkl::SWITCH
            )));
        }
        let device = match self.device {
            Choice::Cpu => Device::Cpu,
            Choice::Cuda if !Cuda::is_available() => {
                return Err(Error::invalid(
                    "no CUDA device: `cargo xtask setup --cuda` installs a libtorch for GPUs",
                ));
            }
            Choice::Cuda => Device::Cuda(0),
            Choice::Auto => Device::cuda_if_available(),
        };
        if device != Device::Cpu {
            // The precision f32 is what it says on a GPU, too, whose convolutions would round to 11 bits.
            set_matmul_precision(MatmulPrecision::Highest)?;
        }
        Ok(device)
    }
}

/// `cpu` or `cuda`, as records name the device.
pub(crate) fn name(device: Device) -> &'static str {
    if device == Device::Cpu { "cpu" } else { "cuda" }
}
