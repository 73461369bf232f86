//! Numbers that say which parts of the data the samples reach, and how varied they are.

use gen_core::Result;
use gen_core::data::PointSet;

use super::distances::block_error;
use crate::metrics::{
    mode_coverage, neighbour_radii, one_nn_accuracy, prdc_with_radii, share_standard_error, vendi_score,
};
use crate::protocol::comparison::Comparison;

/// Rows of each set of the one-nearest-neighbour test.
const ONE_NEAREST_ROWS: i64 = 5000;

/// Uses the same number of rows of both sets, since recall grows with the number of samples.
pub(crate) fn prdc(sets: &mut Comparison<'_>) -> Result<()> {
    let k = sets.k;
    let (real, fake) = sets.equal(i64::MAX);
    let rows = real.size()[0];
    if rows <= k {
        return Ok(());
    }
    let radii = match &sets.rows.radii {
        Some(radii) if radii.size()[0] == rows => radii.shallow_clone(),
        _ => neighbour_radii(&real, k)?,
    };
    let found = prdc_with_radii(&real, &radii, &fake, k)?;
    let errors = found.standard_errors;
    for (metric, value, error) in [
        ("precision", found.precision, errors.map(|errors| errors.precision)),
        ("recall", found.recall, errors.map(|errors| errors.recall)),
        ("density", found.density, errors.map(|errors| errors.density)),
        ("coverage", found.coverage, errors.map(|errors| errors.coverage)),
    ] {
        sets.add_of(metric, &format!("k={k}"), value, error, (rows, rows));
    }
    Ok(())
}

pub(crate) fn vendi(sets: &mut Comparison<'_>) -> Result<()> {
    for (parameter, order) in [("q=1", 1.0), ("q=2", 2.0), ("q=inf", f64::INFINITY)] {
        let value = vendi_score(sets.fake(), order)?;
        sets.add("vendi", parameter, value, None);
    }
    Ok(())
}

pub(crate) fn one_nearest(sets: &mut Comparison<'_>) -> Result<()> {
    let (real, fake) = sets.equal(ONE_NEAREST_ROWS);
    let rows = real.size()[0];
    let value = one_nn_accuracy(&real, &fake)?.all;
    let error = block_error(&real, &fake, |real, fake| Ok(one_nn_accuracy(real, fake)?.all))?;
    // At least the error of independent rows.
    let error = error.map(|error| error.max(share_standard_error(value, 2 * rows as usize)));
    sets.add_of("one_nn_accuracy", &format!("n={rows}"), value, error, (rows, rows));
    Ok(())
}

pub(crate) fn modes(sets: &mut Comparison<'_>) -> Result<()> {
    let Some(modes) = PointSet::named(&sets.data.spec.name).ok().and_then(PointSet::modes) else {
        return Ok(());
    };
    let found = mode_coverage(&modes.centres, modes.std, sets.samples)?;
    let share = found.high_quality_share;
    let error = share_standard_error(share, sets.samples.size()[0] as usize);
    let covered = Some(found.covered_standard_error);
    sets.add("modes_covered", &format!("of {}", found.total), found.covered as f64, covered);
    sets.add("high_quality_share", "", share, Some(error));
    Ok(())
}
