//! Where images are compared: a classifier's hidden layer, principal components of the pixels.

mod network;
mod training;

pub use network::{FEATURES, FeatureNetwork};
pub use training::{FeatureRecord, FeatureTraining, train};
