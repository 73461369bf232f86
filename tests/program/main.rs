//! The program `gen` from outside: its commands, their output, and errors for bad input.

#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod cli;
mod compare;
mod conditions;
mod data;
mod densities;
mod explore;
mod information;
mod outputs;
mod own_data;
mod progress;
mod settings;
#[path = "../shared/mod.rs"]
mod shared;
mod work;
