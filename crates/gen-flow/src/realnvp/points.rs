use gen_core::Result;
use gen_core::data::DataSpec;
use gen_core::params::Params;

use super::PointConfig;
use crate::bijection::{Bijection, Chain, Coupling, Mask, Permutation, Standardise};
use crate::conditioner::MlpConditioner;
use crate::univariate::{Affine, Univariate};

/// Standardise, then couplings that keep the first and the last half in turn. With more than two coordinates,
/// a random order before every second coupling gives each one new partners.
pub(super) fn architecture(params: &Params, config: &PointConfig, data: &DataSpec) -> Result<Chain> {
    let root = params.root();
    let dimension = data.shape.dimensions();
    let mut parts: Vec<Box<dyn Bijection>> =
        vec![Box::new(Standardise::new(&root / "standardise", &data.mean, &data.std)?)];
    for i in 0..config.couplings {
        let place = &root / format!("couplings.{i}");
        if dimension > 2 && i > 0 && i.is_multiple_of(2) {
            parts.push(Box::new(Permutation::random(&place / "permutation", dimension)));
        }
        let mask = Mask::alternating(dimension, i);
        let affine = Affine::bounded(&place / "affine");
        let outputs = affine.parameters() * mask.transformed(dimension);
        let net = MlpConditioner::new(&place / "net", mask.kept(dimension), 0, &config.hidden, outputs);
        parts.push(Box::new(Coupling::new(mask, affine, Box::new(net))));
    }
    Ok(Chain::new(parts))
}
