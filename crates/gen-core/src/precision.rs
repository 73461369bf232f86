use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use gen_native::has_bfloat16;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// The compute dtype of convolutions and linear layers: the type to which [`nn`](crate::nn) rounds the operands of
/// their products.
///
/// Weights, activations, gradients and sums stay `f32`, as does everything else: losses, penalties, likelihoods,
/// normalisation, the bijections of flows, the optimizer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats: operands stay as they are.
    #[default]
    F32,
    /// bfloat16, with 8 significant bits, for about twice the throughput on a processor with AVX512-BF16 or on a GPU.
    /// Results change slightly. On a processor, small products and convolutions of fewer than 16 images stay in `f32`,
    /// since they would gain nothing.
    Bf16,
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "f32" => Ok(Precision::F32),
            "bf16" => Ok(Precision::Bf16),
            _ => Err(Error::unknown("precision", name, ["f32", "bf16"])),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        })
    }
}

thread_local! {
    static CURRENT: Cell<Precision> = const { Cell::new(Precision::F32) };
}

impl Precision {
    /// The precision of the innermost region of this thread.
    pub fn current() -> Self {
        CURRENT.get()
    }

    /// Sets the precision of layers in this thread until the region is dropped, also by a panic. A backward pass has
    /// the precision of its forward pass.
    ///
    /// ```
    /// use gen_core::Precision;
    /// let region = Precision::Bf16.region();
    /// assert_eq!(Precision::current(), Precision::Bf16);
    /// drop(region);
    /// assert_eq!(Precision::current(), Precision::F32);
    /// ```
    pub fn region(self) -> Region {
        Region { before: CURRENT.replace(self), thread: PhantomData }
    }

    /// Checks that `device` has instructions for this precision.
    ///
    /// # Errors
    /// When it has none: layers would fall back to `f32`.
    pub fn check(self, device: Device) -> Result<()> {
        if self == Precision::Bf16 && device == Device::Cpu && !has_bfloat16() {
            return Err(Error::invalid(
                "this processor has no instructions for bf16 (AVX512-BF16): leave the precision at f32",
            ));
        }
        Ok(())
    }
}

/// The part of a program in which layers use a [`Precision`]; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Region {
    before: Precision,
    /// Keeps a region from being sent to another thread.
    thread: PhantomData<*const ()>,
}

impl Drop for Region {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

/// `x` in bfloat16.
pub(crate) fn rounded(x: &Tensor) -> Tensor {
    x.to_kind(Kind::BFloat16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_ends_also_by_a_panic_and_regions_nest() {
        let outer = Precision::Bf16.region();
        let panicked = std::panic::catch_unwind(|| {
            let _inner = Precision::F32.region();
            assert_eq!(Precision::current(), Precision::F32);
            panic!("in the middle");
        });
        assert!(panicked.is_err());
        assert_eq!(Precision::current(), Precision::Bf16);
        drop(outer);
        assert_eq!(Precision::current(), Precision::F32);
    }
}
