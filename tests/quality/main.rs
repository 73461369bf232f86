//! `gen evaluate` and `gen features` through the real program.

#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod evaluate;
mod ladder;
#[path = "../shared/mod.rs"]
mod shared;
