//! Mistakes on purpose, in builds that a sanitizer watches: `cargo xtask test --sanitize` makes each of them and expects
//! a report.

#![cfg(sanitized)]

unsafe extern "C" {
    fn gn_fault_beyond();
    fn gn_fault_freed();
    fn gn_fault_lost();
    fn gn_fault_neither();
    fn gn_fault_race();
}

/// Links the crate, and with it what it is made of.
fn link() {
    assert!(gen_native::gradients_enabled());
}

#[test]
#[ignore = "it goes on beyond the end of a tensor"]
fn beyond() {
    link();
    // SAFETY: none.
    unsafe { gn_fault_beyond() }
}

#[test]
#[ignore = "it reads a tensor that is gone"]
fn freed() {
    link();
    // SAFETY: none.
    unsafe { gn_fault_freed() }
}

#[test]
#[ignore = "it never frees a tensor"]
fn lost() {
    link();
    // SAFETY: none.
    unsafe { gn_fault_lost() }
}

#[test]
#[ignore = "it takes a number for a truth that is none"]
fn neither() {
    link();
    // SAFETY: none.
    unsafe { gn_fault_neither() }
}

#[test]
#[ignore = "it writes one tensor from all threads"]
fn race() {
    link();
    // SAFETY: none.
    unsafe { gn_fault_race() }
}
