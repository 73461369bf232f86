//! Metrics, feature networks and the protocol, on numbers and models whose quality is known.

#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]
#![allow(clippy::print_stdout, reason = "a failed comparison is found by the numbers before it")]

mod bars;
mod features;
mod metrics;
mod protocol;
