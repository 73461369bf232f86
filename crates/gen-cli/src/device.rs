//! The options `--device` and `--threads`.

use std::fmt;

use clap::{Args, ValueEnum};
use gen_core::native::{MatmulPrecision, mkl, set_matmul_precision};
use gen_core::{Error, Result};
use tch::{Cuda, Device};

/// Options of every command that computes.
#[derive(Args, Debug, Clone, Copy)]
pub(crate) struct Compute {
    /// The device to compute on
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    device: Choice,

    /// Number of threads that libtorch uses; 0 means one for each core
    #[arg(long, default_value_t = 0)]
    threads: i32,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// A GPU if there is one, otherwise the processor
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

/// The largest relative error of a matrix product in `f32` that rounding explains.
const LARGEST_ERROR: f64 = 1e-4;

impl Compute {
    /// With the recorded `device` and `threads` of a run in the place of options that were not given.
    ///
    /// # Errors
    /// When there is no such device.
    pub(crate) fn or(self, device: Option<&str>, threads: Option<i32>) -> Result<Self> {
        let recorded = match device {
            None => Choice::Auto,
            Some("cpu") => Choice::Cpu,
            Some("cuda") => Choice::Cuda,
            Some(other) => return Err(Error::unknown("device", other, ["cpu", "cuda"])),
        };
        Ok(Compute {
            device: if self.device == Choice::Auto { recorded } else { self.device },
            threads: if self.threads == 0 { threads.unwrap_or(0) } else { self.threads },
        })
    }

    /// Sets the number of threads, checks that matrix products are right, and chooses the device.
    pub(crate) fn start(self) -> Result<Device> {
        match self.threads {
            0 => {}
            1.. => tch::set_num_threads(self.threads),
            _ => return Err(Error::invalid(format!("--threads takes 0 or more, found {}", self.threads))),
        }
        let error = if mkl::is_taken_for_intel() { mkl::check() } else { 0.0 };
        if error.is_nan() || error > LARGEST_ERROR {
            return Err(Error::invalid(format!(
                "matrix products have a relative error of {error:.1e} on this processor: set {}=0",
                mkl::SWITCH
            )));
        }
        let device = match self.device {
            Choice::Cpu => Device::Cpu,
            Choice::Cuda if !Cuda::is_available() => {
                return Err(Error::invalid("no CUDA device: `cargo xtask setup --cuda` installs a libtorch for GPUs"));
            }
            Choice::Cuda => Device::Cuda(0),
            Choice::Auto => Device::cuda_if_available(),
        };
        if device != Device::Cpu {
            // Convolutions of `f32` on a GPU would otherwise round to TF32, which has 11 significant bits.
            set_matmul_precision(MatmulPrecision::Highest)?;
        }
        Ok(device)
    }
}

/// The name of a device in records: `cpu` or `cuda`.
pub(crate) fn name(device: Device) -> &'static str {
    if device == Device::Cpu { "cpu" } else { "cuda" }
}
