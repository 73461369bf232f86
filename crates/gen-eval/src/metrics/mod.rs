//! Metrics: pure functions on tensors, statistics in f64.

mod assignment;
mod classifier;
mod copies;
mod detection;
mod energy;
mod estimate;
mod feature_likelihood;
mod frechet;
mod frechet_limit;
mod kernel;
mod mmd;
mod modes;
mod neighbours;
mod pairs;
mod path;
mod prdc;
mod rows;
mod vendi;
mod wasserstein;

pub use classifier::{
    ClassDistance, ClassHistogram, ClassifierScore, class_histogram_distance, classifier_score, histogram_distance,
};
pub(crate) use copies::FALSE_ALARMS;
pub use copies::{
    Copied, NearestTrain, NearestTraining, OneNearest, auth_pct, copied_share, nearest_train_test, one_nn_accuracy,
};
pub use detection::{auroc, auroc_standard_error, false_positive_rate};
pub use energy::{chamfer_distance, energy_distance, energy_distance_estimate, parzen_log_density};
pub use estimate::{Estimate, block_standard_error, share_standard_error};
pub use feature_likelihood::feature_likelihood_score;
pub use frechet::{Moments, frechet_distance, frechet_distance_of_moments, frechet_standard_error};
pub use frechet_limit::{Extrapolation, extrapolation_sizes, frechet_distance_infinity};
pub use kernel::{
    Subsets, kernel_distance, kernel_distance_estimate, kernel_distance_of_subsets, kernel_distance_standard_error,
    polynomial_kernel,
};
pub use mmd::{Estimator, median_distance, mmd_squared, mmd_squared_estimate, rbf_kernel};
pub use modes::{ModeCoverage, mode_coverage};
pub use neighbours::{nearest, neighbour_radii};
pub use path::{PATH_STEP, path_length};
pub use prdc::{Prdc, PrdcErrors, prdc, prdc_with_radii};
pub use vendi::vendi_score;
pub use wasserstein::{
    SlicedWasserstein, random_directions, sliced_wasserstein, sliced_wasserstein_of_moments, wasserstein_exact,
};
