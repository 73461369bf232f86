//! Deliberate faults, in builds with a sanitizer: `cargo xtask test --sanitize` runs each of them and expects a report.

#![cfg(sanitized)]

/// A test that calls a function of `native/sanitize/faults.cpp`.
macro_rules! fault {
    ($test:ident, $function:ident, $what:literal) => {
        #[test]
        #[ignore = $what]
        fn $test() {
            unsafe extern "C" {
                fn $function();
            }
            // The call links the crate, and with it the function.
            assert!(gen_native::gradients_enabled());
            // SAFETY: none.
            unsafe { $function() }
        }
    };
}

fault!(beyond, gn_fault_beyond, "it writes beyond the end of a tensor");
fault!(freed, gn_fault_freed, "it reads a freed tensor");
fault!(lost, gn_fault_lost, "it leaks a tensor");
fault!(neither, gn_fault_neither, "it reads a bool that is neither true nor false");
fault!(race, gn_fault_race, "it writes one tensor from all threads");
