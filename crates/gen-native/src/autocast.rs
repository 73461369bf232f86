use std::ffi::c_int;
use std::marker::PhantomData;

use tch::TchError;

use crate::ffi::{check, gn_autocast_begin, gn_autocast_end};

/// A kind of device with autocast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutocastDevice {
    /// The processor.
    Cpu,
    /// NVIDIA GPUs.
    Cuda,
}

/// A guard: while it lives, convolutions and matrix products of this thread compute in bfloat16. libtorch keeps
/// operations that need the range or the precision in f32. (`tch::autocast` has no effect on a CPU.)
///
/// Dropping the guard restores the previous state, also during a panic. Guards must be dropped in the reverse order of
/// their creation.
///
/// ```
/// use gen_native::{Autocast, AutocastDevice};
/// use tch::{Device, Kind, Tensor};
///
/// let x = Tensor::ones([4, 4], (Kind::Float, Device::Cpu));
/// {
///     let _autocast = Autocast::bfloat16(AutocastDevice::Cpu)?;
///     assert_eq!(x.matmul(&x).kind(), Kind::BFloat16);
/// }
/// assert_eq!(x.matmul(&x).kind(), Kind::Float);
/// # Ok::<(), tch::TchError>(())
/// ```
#[must_use = "autocast ends when the guard is dropped"]
#[derive(Debug)]
pub struct Autocast {
    device: c_int,
    was_enabled: bool,
    was_kind: c_int,
    /// Autocast is a state of the thread, so the guard must not leave it.
    not_send: PhantomData<*const ()>,
}

impl Autocast {
    /// Turns autocast to bfloat16 on.
    ///
    /// # Errors
    /// When libtorch has no autocast for the device.
    pub fn bfloat16(device: AutocastDevice) -> Result<Self, TchError> {
        let device = match device {
            AutocastDevice::Cpu => 0,
            AutocastDevice::Cuda => 1,
        };
        let (mut was_enabled, mut was_kind) = (false, 0);
        // SAFETY: both pointers outlive the call.
        unsafe { check(gn_autocast_begin(device, &raw mut was_enabled, &raw mut was_kind))? };
        Ok(Autocast { device, was_enabled, was_kind, not_send: PhantomData })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // SAFETY: the arguments are plain numbers that `gn_autocast_begin` gave. A destructor cannot return an error,
        // and there is none where autocast could begin.
        let _ = unsafe { check(gn_autocast_end(self.device, self.was_enabled, self.was_kind)) };
    }
}
