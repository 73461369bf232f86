//! The network behind published Fréchet inception distances.

mod graph;
mod layers;
mod network;
mod source;
#[cfg(test)]
mod tests;
mod weights;

pub use network::{InceptionNetwork, InceptionOutput};
pub use source::InceptionSource;
