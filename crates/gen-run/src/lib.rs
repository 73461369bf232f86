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
pub use config::{EarlierBudget, FORMAT_VERSION, LIBTORCH_VERSION, RunConfig, RunInfo};
pub use files::write_atomically;
pub use folder::RunFolder;
pub use picture::{PictureFormat, save_picture};
