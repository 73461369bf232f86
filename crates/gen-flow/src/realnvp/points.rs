use gen_core::Result;
use gen_core::data::DataSpec;
use gen_core::params::Params;

use super::PointConfig;
use crate::bijection::Chain;
use crate::points;
use crate::univariate::Affine;

/// Standardised coordinates, then affine couplings.
pub(super) fn architecture(params: &Params, config: &PointConfig, data: &DataSpec) -> Result<Chain> {
    let dimension = data.shape.dimensions();
    points::layers(params, data, "couplings", config.couplings, |place, i| {
        let affine = Affine::bounded(&place / "affine");
        points::coupling(&place, affine, i, &config.hidden, dimension)
    })
}
