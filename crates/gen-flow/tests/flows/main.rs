//! Flows: their pieces against other libraries and closed forms, and the models as their users see them.

#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod bijections;
mod common;
mod conditional;
mod continuous;
mod fit;
mod images;
mod peers;
mod realnvp;
mod residual;
mod starts;
mod tabular;
mod tarflow;
mod vectors;
