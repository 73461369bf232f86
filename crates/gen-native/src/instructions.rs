//! The choice among loops that are compiled for several instruction sets.

use tch::TchError;

use crate::ffi::{answer_of, gn_has_bfloat16, gn_use_instructions};

/// The instruction set of the loops of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// The best of the following that the processor has.
    Best,
    /// Vectors of 16 floats.
    Avx512,
    /// Vectors of 8 floats.
    Avx2,
    /// Instructions that every processor has. libtorch computes convolutions and normalisations.
    Portable,
    /// No loops of this crate: libtorch computes everything.
    Libtorch,
}

/// Chooses the instructions for all later calls of the process, in any thread. An operation keeps the instructions of
/// its forward pass for its backward pass.
///
/// Returns false, and changes nothing, if the processor lacks the instructions or the environment variable
/// `GEN_INSTRUCTIONS` forbids them. The variable names the most that is allowed: `libtorch`, `portable`, `avx2`,
/// `avx512` (without bfloat16) or `avx512-bf16`, in this order.
///
/// # Errors
/// When the variable has another value.
pub fn use_instructions(which: Instructions) -> Result<bool, TchError> {
    let which = match which {
        Instructions::Best => 0,
        Instructions::Avx512 => 1,
        Instructions::Avx2 => 2,
        Instructions::Portable => 3,
        Instructions::Libtorch => 4,
    };
    // SAFETY: the argument is a plain number.
    unsafe { answer_of(|possible| gn_use_instructions(which, possible)) }
}

/// Whether the processor multiplies bfloat16 with the [`Instructions`] in use.
pub fn has_bfloat16() -> bool {
    // SAFETY: the function has no arguments.
    unsafe { gn_has_bfloat16() }
}
