use std::f64::consts::PI;

use tch::{Device, Kind, Tensor};

use super::*;
use crate::testing::{assert_close, assert_close_f64};

const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

fn mean(x: &Tensor) -> f64 {
    x.mean(Kind::Double).double_value(&[])
}

#[test]
fn gaussian_fits_have_the_tabulated_likelihood() {
    let table = [
        (PointSet::Moons, 3.2946),
        (PointSet::Circles, 3.8922),
        (PointSet::Rings, 3.5873),
        (PointSet::Swissroll, 3.4658),
        (PointSet::EightGaussians, 4.2552),
        (PointSet::Pinwheel, 3.6263),
        (PointSet::TwoSpirals, 3.7473),
        (PointSet::Checkerboard, 4.4942),
    ];
    for (set, expected) in table {
        let x = set.sample(400_000, 1).to_kind(Kind::Double);
        let covariance = x.transpose(0, 1).cov(1, None::<&Tensor>, None::<&Tensor>);
        let nll = 0.5 * (2.0 * (2.0 * PI).ln() + 2.0 + covariance.logdet().double_value(&[]));
        assert!((nll - expected).abs() < 0.01, "{set}: {nll} and {expected}");
    }
}

#[test]
fn the_mean_log_density_of_samples_is_minus_the_entropy() {
    for set in PointSet::ALL {
        let log_prob = set.log_prob(&set.sample(10_000, 2));
        let error = log_prob.std(true).double_value(&[]) / 10_000f64.sqrt();
        let estimate = -mean(&log_prob);
        let allowed = 4.0 * error + 1e-4;
        assert!((estimate - set.entropy()).abs() < allowed, "{set}: {estimate} +- {error}");
    }
}

/// Integrals over the plane: of p, and of -p log p.
fn integrate(set: PointSet, low: f64, high: f64, cells: i64) -> (f64, f64) {
    let h = (high - low) / cells as f64;
    let axis = (Tensor::arange(cells, DOUBLE) + 0.5) * h + low;
    let grid = Tensor::cartesian_prod(&[&axis, &axis]);
    let log_prob = set.log_prob(&grid);
    let weighted = (log_prob.exp() * log_prob.clamp_min(-1e3)).sum(Kind::Double).double_value(&[]);
    (log_prob.exp().sum(Kind::Double).double_value(&[]) * h * h, -weighted * h * h)
}

#[test]
fn densities_integrate_to_one_and_to_the_entropy() {
    for (set, half, cells, tolerance) in [
        (PointSet::Moons, 4.0, 80, 1e-3),
        (PointSet::Circles, 4.5, 120, 1e-3),
        (PointSet::Rings, 3.5, 140, 1e-3),
        (PointSet::Swissroll, 4.0, 80, 1e-3),
        (PointSet::EightGaussians, 5.0, 60, 1e-3),
        (PointSet::Pinwheel, 5.0, 200, 2e-3),
        (PointSet::TwoSpirals, 4.0, 120, 1e-3),
        (PointSet::Checkerboard, 5.0, 80, 1e-9),
    ] {
        let (mass, entropy) = integrate(set, -half, half, cells);
        assert_close_f64(mass, 1.0, tolerance, 0.0);
        assert_close_f64(entropy, set.entropy(), 0.0, 2.0 * tolerance + 1e-4);
    }
}

#[test]
fn one_component_of_25gaussians_has_its_share() {
    let h = 0.5 / 50.0;
    let axis = (Tensor::arange(50, DOUBLE) + 0.5) * h - 0.25;
    let x = Tensor::cartesian_prod(&[&axis, &axis]) + Tensor::from_slice(&[-4.0, 2.0]);
    let log_prob = PointSet::TwentyFiveGaussians.log_prob(&x);
    let p = log_prob.exp();
    assert_close_f64(p.sum(Kind::Double).double_value(&[]) * h * h * 25.0, 1.0, 1e-5, 0.0);
    let entropy = -(p * log_prob).sum(Kind::Double).double_value(&[]) * h * h * 25.0;
    assert_close_f64(entropy, PointSet::TwentyFiveGaussians.entropy(), 0.0, 1e-4);
}

#[test]
fn uniform_plus_normal_keeps_its_digits_in_the_tails() {
    // mpmath, 6000 digits: log((ncdf(u / s) - ncdf((u - w) / s)) / w), w = 1/6, s = 1/10
    let u = Tensor::from_slice(&[0.05, -1.0, 0.4, 3.0, 10.0]);
    let expected = Tensor::from_slice(&[
        1.2292719861446138,
        -51.43952569366469,
        -2.835282429683467,
        -403.8613487397936,
        -4838.437867745704,
    ]);
    let actual = density::log_uniform_plus_normal(&u, sample::SPIRAL_BOX, sample::SPIRAL_STD);
    assert_close(&actual, &expected, 1e-10, 0.0);
}

#[test]
fn the_checkerboard_has_mass_on_its_squares_only() {
    let x = Tensor::from_slice(&[-3.0, 1.0, -1.0, 1.0, 1.0, -3.0, 3.0, 3.0, 5.0, 1.0]).view([5, 2]);
    let expected = [-32f64.ln(), f64::NEG_INFINITY, -32f64.ln(), -32f64.ln(), f64::NEG_INFINITY];
    assert_eq!(Vec::<f64>::try_from(PointSet::Checkerboard.log_prob(&x)).unwrap(), expected);
}

#[test]
fn modes_are_where_the_points_are() {
    for set in [PointSet::EightGaussians, PointSet::TwentyFiveGaussians] {
        let modes = set.modes().unwrap();
        let x = set.sample(50_000, 4).to_kind(Kind::Double);
        let (_, nearest) = Tensor::cdist(&x, &modes.centres, 2.0, None).min_dim(1, false);
        let offset = &x - modes.centres.index_select(0, &nearest);
        assert_close_f64(offset.std(true).double_value(&[]), modes.std, 0.01, 0.0);
        let count = modes.centres.size()[0];
        let share = nearest.bincount::<Tensor>(None, count).to_kind(Kind::Double) / 50_000.0;
        assert_close(&share, &share.full_like(1.0 / count as f64), 0.1, 0.0);
    }
    assert!(PointSet::Moons.modes().is_none());
}

#[test]
fn seeds_and_splits_are_independent() {
    let set = PointSet::Rings;
    assert_eq!(set.sample(100, 5), set.sample(100, 5));
    assert_ne!(set.sample(100, 5), set.sample(100, 6));
    assert_ne!(set.part(100, 0, 1), set.part(100, 0, 2));
}

#[test]
fn a_data_set_is_the_same_every_time() {
    let (a, b) = (PointSet::Moons.dataset().unwrap(), PointSet::Moons.dataset().unwrap());
    assert_eq!(a.spec.splits, PointSet::SPLITS);
    assert_eq!(a.test.len(), PointSet::SPLITS.test);
    assert_eq!(a.test.x, b.test.x);
    assert_eq!(a.spec.name, "moons");
}

#[test]
fn names_find_their_sets() {
    for set in PointSet::ALL {
        assert_eq!(PointSet::named(set.name()).unwrap(), set);
    }
    let error = PointSet::named("8gausians").unwrap_err().to_string();
    assert_eq!(error, "unknown point set `8gausians`: did you mean `8gaussians`?");
}
