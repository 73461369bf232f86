//! VAEs against closed forms and recorded steps of PyTorch, and as their users see them.

#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod bounds;
mod models;
mod peers;
