//! MKL's fast path on AMD processors.
//!
//! libtorch multiplies matrices with MKL. MKL calls `mkl_serv_intel_cpu_true` and takes a slow path on processors that
//! are not Intel's, whatever their instructions. A program that defines this function replaces MKL's. One line at the
//! top of a program does so, with [`mkl_on_amd!`](crate::mkl_on_amd):
//!
//! ```
//! gen_native::mkl_on_amd!();
//! # fn main() {}
//! ```
//!
//! The environment variable `GEN_MKL_ON_AMD=0` switches it off. [`check`] lets a program test at start-up that products
//! are right.

use std::ffi::c_int;
use std::sync::OnceLock;

use tch::{Device, Kind, Tensor};

/// Defines the function that MKL calls. For the root of a program; a library leaves it to the program.
#[macro_export]
macro_rules! mkl_on_amd {
    () => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C" fn mkl_serv_intel_cpu_true() -> ::std::ffi::c_int {
            $crate::mkl::answer()
        }
    };
}

/// The environment variable that, set to 0, leaves MKL's decision unchanged.
pub const SWITCH: &str = "GEN_MKL_ON_AMD";

/// The answer to MKL: 1 on Intel processors, and on AMD processors unless switched off; otherwise 0.
pub fn answer() -> c_int {
    static ANSWER: OnceLock<c_int> = OnceLock::new();
    *ANSWER.get_or_init(|| match vendor().as_ref() {
        Some(b"GenuineIntel") => 1,
        Some(b"AuthenticAMD") => c_int::from(std::env::var_os(SWITCH).is_none_or(|value| value != "0")),
        _ => 0,
    })
}

/// Whether MKL takes an AMD processor for one of Intel's.
pub fn is_taken_for_intel() -> bool {
    vendor().as_ref() == Some(b"AuthenticAMD") && answer() == 1
}

#[cfg(target_arch = "x86_64")]
fn vendor() -> Option<[u8; 12]> {
    // Rust 1.89 calls it unsafe, later releases do not.
    #[allow(unused_unsafe)]
    // SAFETY: every processor of x86-64 has the instruction.
    let leaf = unsafe { std::arch::x86_64::__cpuid(0) };
    let mut name = [0; 12];
    for (place, register) in name.chunks_mut(4).zip([leaf.ebx, leaf.edx, leaf.ecx]) {
        place.copy_from_slice(&register.to_le_bytes());
    }
    Some(name)
}

#[cfg(not(target_arch = "x86_64"))]
fn vendor() -> Option<[u8; 12]> {
    None
}

/// Multiplies matrices of several shapes with libtorch and by elementwise operations, and returns the largest relative
/// difference: about 1e-6 if products are right. It takes a few milliseconds.
pub fn check() -> f64 {
    let shapes = [(17, 33, 65), (64, 128, 32), (130, 70, 48)];
    shapes.iter().map(|&(n, k, m)| difference(n, k, m)).fold(0.0, f64::max)
}

fn difference(n: i64, k: i64, m: i64) -> f64 {
    let _no_grad = tch::no_grad_guard();
    let matrix = |rows: i64, columns: i64, step: f64| {
        let entries = Tensor::arange(rows * columns, (Kind::Double, Device::Cpu));
        (entries * step).sin().view([rows, columns]).to_kind(Kind::Float)
    };
    let (a, b) = (matrix(n, k, 0.37), matrix(k, m, 0.73));
    let product = a.matmul(&b).to_kind(Kind::Double);
    let (a, b) = (a.to_kind(Kind::Double), b.to_kind(Kind::Double));
    // Sums of outer products are elementwise: they use no library of matrix products.
    let mut expected = Tensor::zeros([n, m], (Kind::Double, Device::Cpu));
    for i in 0..k {
        expected += a.narrow(1, i, 1) * b.narrow(0, i, 1);
    }
    (product - &expected).abs().max().double_value(&[]) / expected.abs().max().double_value(&[])
}
