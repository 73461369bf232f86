//! Feature spaces: a hidden layer of a classifier or of a self-supervised network, an untrained network, principal
//! components of the pixels, the Inception network, or the points themselves.

mod augment;
mod embedded;
mod inception;
mod network;
mod outliers;
mod pca;
mod random;
mod self_supervised;
mod space;
mod training;

pub use augment::{Views, blurred};
pub use embedded::Embedded;
pub use inception::{InceptionNetwork, InceptionOutput, InceptionSource};
pub use network::{FEATURES, FeatureNetwork};
pub use pca::PrincipalComponents;
pub use random::RandomNetwork;
pub use self_supervised::{SelfSupervision, train_self_supervised};
pub use space::FeatureSpace;
pub use training::{Classification, FeatureRecord, FeatureTraining, train};
