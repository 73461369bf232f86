//! Which of the loops that are compiled several times are used.

use tch::TchError;

use crate::ffi::{check, gn_has_bfloat16, gn_use_instructions};

/// What the loops of this crate are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// The best of the following that the processor has.
    Best,
    /// Vectors of 16 floats.
    Avx512,
    /// Vectors of 8 floats.
    Avx2,
    /// What every processor has. Convolutions and normalisations are left to libtorch.
    Portable,
    /// None of these: everything is left to libtorch.
    Libtorch,
}

/// Chooses them for the whole process, for the calls that begin after this, in any thread. An operation keeps those that it
/// began with, also for its backward pass. Returns false, and changes nothing, where the processor has no such
/// instructions, or the environment variable `GEN_INSTRUCTIONS` allows less: `libtorch`, `portable`, `avx2`,
/// `avx512` (without bfloat16) or `avx512-bf16`, in this order.
///
/// # Errors
/// When the variable is something else.
pub fn use_instructions(which: Instructions) -> Result<bool, TchError> {
    let which = match which {
        Instructions::Best => 0,
        Instructions::Avx512 => 1,
        Instructions::Avx2 => 2,
        Instructions::Portable => 3,
        Instructions::Libtorch => 4,
    };
    let mut possible = false;
    // SAFETY: the place outlives the call.
    unsafe { check(gn_use_instructions(which, &raw mut possible))? };
    Ok(possible)
}

/// Whether the processor multiplies bfloat16 with the [`Instructions`] in use.
pub fn has_bfloat16() -> bool {
    // SAFETY: it takes nothing and asks the processor.
    unsafe { gn_has_bfloat16() }
}
