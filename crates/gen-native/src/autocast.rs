use std::ffi::c_int;
use std::marker::PhantomData;

use tch::TchError;

use crate::ffi::{check, gn_autocast_begin, gn_autocast_end};

/// Where autocast works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutocastDevice {
    /// The processor.
    Cpu,
    /// NVIDIA GPUs.
    Cuda,
}

/// While it lives, convolutions and matrix products of this thread compute in bfloat16, and what needs the range or the
/// digits stays in f32, by libtorch's own lists. (`tch::autocast` does nothing on a processor.)
///
/// What was before comes back when it is dropped, also when a panic drops it. Guards end in the reverse order of
/// their beginning.
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
    /// The state belongs to this thread.
    not_send: PhantomData<*const ()>,
}

impl Autocast {
    /// Begins.
    ///
    /// # Errors
    /// When libtorch has no autocast for the device.
    pub fn bfloat16(device: AutocastDevice) -> Result<Self, TchError> {
        let device = match device {
            AutocastDevice::Cpu => 0,
            AutocastDevice::Cuda => 1,
        };
        let (mut was_enabled, mut was_kind) = (false, 0);
        // SAFETY: both places outlive the call.
        unsafe { check(gn_autocast_begin(device, &raw mut was_enabled, &raw mut was_kind))? };
        Ok(Autocast { device, was_enabled, was_kind, not_send: PhantomData })
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // SAFETY: the numbers are those that the beginning gave. It was possible to begin, so it is possible to end;
        // a destructor has nobody to tell.
        let _ = unsafe { check(gn_autocast_end(self.device, self.was_enabled, self.was_kind)) };
    }
}
