//! Run folders: the files that a run writes, and how they are read again.
//!
//! ```text
//! <run>/config.toml      all that is needed to run it again
//!       history.csv      a row per log interval
//!       validation.csv   a row per validation, where the model has a validation loss
//!       samples/         grids of samples over training, PNG
//!       checkpoint/      latest and the one before: weights, average, training state, progress, checksums;
//!                        and the best: the weights of the best validation
//! ```
//!
//! A run that was interrupted goes on from its latest whole checkpoint, and ends as if it had never been interrupted:
//! [`RunFolder::resume`], then [`RunFolder::restore`].
#![doc = include_str!("../README.md")]

mod checkpoint;
mod checksum;
mod config;
mod files;
mod folder;
pub mod grid;
mod history;
mod identity;
mod lock;
mod picture;

pub use checkpoint::Checkpoint;
pub use config::{EarlierBudget, LIBTORCH_VERSION, RunConfig, RunInfo};
pub use files::write_atomically;
pub use folder::RunFolder;
pub use picture::{PictureFormat, save_picture};
