//! Runs depend on their seed alone, however often they are interrupted.

#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod randomness;
mod resume;
