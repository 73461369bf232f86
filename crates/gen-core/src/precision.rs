//! What layers multiply in.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use gen_native::has_bfloat16;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// What the convolutions and linear layers of [`nn`](crate::nn) round their factors to.
///
/// Weights, activations, gradients and sums stay `f32`, and so does everything that is no layer: losses, penalties,
/// likelihoods, normalisation, the invertible maps of flows, the optimizer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Nothing: products of 32-bit floats.
    #[default]
    F32,
    /// bfloat16, of which a processor with AVX512-BF16 or a GPU multiplies about twice as many in the same time. It has
    /// 8 significant bits: results change a little. Where nothing is gained, layers stay exact: on a processor, in small
    /// products and in convolutions of fewer than 16 images.
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
    /// That of the region that this thread is in.
    pub fn current() -> Self {
        CURRENT.get()
    }

    /// Layers in this thread use it from now on until the region is dropped, also by a panic. Their backward passes use
    /// what their forward pass did.
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

    /// # Errors
    /// When the device does not multiply it: layers would do without, and nothing would be gained.
    pub fn check(self, device: Device) -> Result<()> {
        if self == Precision::Bf16 && device == Device::Cpu && !has_bfloat16() {
            return Err(Error::invalid(
                "this processor has no instructions for bf16 (AVX512-BF16): leave the precision at f32",
            ));
        }
        Ok(())
    }
}

/// A part of a program in which layers use a [`Precision`].
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Region {
    before: Precision,
    /// It belongs to its thread.
    thread: PhantomData<*const ()>,
}

impl Drop for Region {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

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
