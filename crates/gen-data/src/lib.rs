#![doc = include_str!("../README.md")]

mod catalog;
mod checksum;
mod cifar;
pub mod csv;
mod fetch;
pub mod folder;
pub mod idx;
mod loaded;
mod location;
mod manifest;
pub mod npy;
mod own;
mod part;
mod source;
mod url;
mod words;

pub use catalog::{Catalog, FileState};
pub use checksum::sha256;
pub use fetch::{FetchEvent, OnFetch};
pub use loaded::Loaded;
pub use manifest::{DataFile, Format, Manifest, Role, Source};
pub use url::fetch_url;
