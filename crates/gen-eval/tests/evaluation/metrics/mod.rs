//! Metrics against reference numbers, and their invariants.
//!
//! The numbers come from numpy, scipy, torch-fidelity 0.4.0 and prdc 0.2; the sets are formulas in row and column.

mod errors;
mod pairs;
mod vectors;

use gen_core::rng::{Purpose, derive, permutation};
use gen_core::testing::assert_close_f64;
use gen_eval::{
    Estimator, Prdc, frechet_distance, kernel_distance, kernel_distance_of_subsets, kernel_distance_standard_error,
    mmd_squared, neighbour_radii, one_nn_accuracy, polynomial_kernel, prdc, prdc_with_radii,
};
use proptest::prelude::*;
use tch::{Kind, Tensor};

fn matrix(n: i64, d: i64, f: impl Fn(f64, f64) -> f64) -> Tensor {
    let values: Vec<f64> = (0..n * d).map(|at| f((at / d) as f64, (at % d) as f64)).collect();
    Tensor::from_slice(&values).view([n, d])
}

/// Standard normal numbers by Box and Muller; libtorch's generator is shared by the tests that run at one time.
fn normal(n: i64, d: i64, seed: u64) -> Tensor {
    let uniform = |i: u64| (derive(seed, Purpose::Data, i) >> 11) as f64 / (1u64 << 53) as f64;
    let at = |i: u64| (-2.0 * (1.0 - uniform(2 * i)).ln()).sqrt() * (std::f64::consts::TAU * uniform(2 * i + 1)).cos();
    let values: Vec<f64> = (0..(n * d) as u64).map(at).collect();
    Tensor::from_slice(&values).view([n, d])
}

#[test]
fn fewer_rows_than_features() {
    // μ and Σ by hand: rows ±a e₁ against ±b e₂ have (Σ_r Σ_f)^½ = 0.
    let (a, b) = (3.0, 2.0);
    let rows = |axis: f64, size: f64| matrix(2, 5, |i, j| if j == axis { size * (1.0 - 2.0 * i) } else { 0.0 });
    let distance = frechet_distance(&rows(0.0, a), &rows(1.0, b)).unwrap();
    assert_close_f64(distance, 2.0 * a * a + 2.0 * b * b, 1e-12, 0.0);
    // On one axis it is the distance of two 1-D Gaussians.
    let distance = frechet_distance(&rows(0.0, a), &rows(0.0, b)).unwrap();
    assert_close_f64(distance, 2.0 * (a - b) * (a - b), 1e-12, 1e-12);
}

#[test]
fn precision_and_recall_are_not_swapped_on_mode_collapse() {
    let real = normal(600, 8, 1);
    let collapsed = normal(600, 8, 2) * 0.01 + real.get(0);
    let found = prdc(&real, &collapsed, 5).unwrap();
    assert!(found.precision > 0.95 && found.recall < 0.05 && found.coverage < 0.05, "{found:?}");
    let swapped = prdc(&collapsed, &real, 5).unwrap();
    assert_eq!((swapped.precision, swapped.recall), (found.recall, found.precision));
}

#[test]
fn a_memorised_set_covers_everything() {
    let real = normal(300, 8, 3);
    let found = prdc(&real, &real.flip([0]), 5).unwrap();
    assert_eq!((found.precision, found.recall, found.coverage), (1.0, 1.0, 1.0));
    assert!(frechet_distance(&real, &real.flip([0])).unwrap() < 1e-12);
}

#[test]
fn unequal_counts_in_blocks() {
    // More rows than one block, by brute force.
    let (real, fake) = (normal(700, 3, 4), normal(530, 3, 5) * 0.8);
    let found = prdc(&real, &fake, 3).unwrap();
    let d =
        (real.unsqueeze(1) - fake.unsqueeze(0)).square().sum_dim_intlist([2i64].as_slice(), false, Kind::Double).sqrt();
    let own = |x: &Tensor| {
        let d =
            (x.unsqueeze(1) - x.unsqueeze(0)).square().sum_dim_intlist([2i64].as_slice(), false, Kind::Double).sqrt();
        d.sort(1, false).0.select(1, 3)
    };
    let (r, f) = (own(&real), own(&fake));
    let mean = |mask: Tensor| mask.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
    let in_real = d.less_tensor(&r.unsqueeze(1));
    assert_close_f64(found.precision, mean(in_real.any_dim(0, false)), 1e-12, 0.0);
    assert_close_f64(found.recall, mean(d.less_tensor(&f.unsqueeze(0)).any_dim(1, false)), 1e-12, 0.0);
    assert_close_f64(found.density, mean(in_real.copy()) * 700.0 / 3.0, 1e-12, 0.0);
    assert_close_f64(found.coverage, mean(in_real.any_dim(1, false)), 1e-12, 0.0);

    let k = |a: &Tensor, b: &Tensor| polynomial_kernel(a, b).sum(Kind::Double).double_value(&[]);
    let diagonal = |x: &Tensor| polynomial_kernel(x, x).trace().double_value(&[]);
    let expected = (k(&real, &real) - diagonal(&real)) / (700.0 * 699.0)
        + (k(&fake, &fake) - diagonal(&fake)) / (530.0 * 529.0)
        - 2.0 * k(&real, &fake) / (700.0 * 530.0);
    assert_close_f64(kernel_distance(&real, &fake).unwrap(), expected, 1e-10, 1e-12);
}

#[test]
fn the_floor_is_as_predicted() {
    // Two samples of one Gaussian are about (d (d + 1) / 2 + 2 d) / n apart.
    let (d, n) = (32, 2000);
    let distance = frechet_distance(&normal(n, d, 6), &normal(n, d, 7)).unwrap();
    let predicted = (d * (d + 1) / 2 + 2 * d) as f64 / n as f64;
    assert!((distance / predicted - 1.0).abs() < 0.15, "{distance} against {predicted}");
}

#[test]
fn subsets_of_the_kernel_distance() {
    let (a, b) = (normal(400, 4, 300), normal(300, 4, 301) + 0.3);
    let whole = kernel_distance(&a, &b).unwrap();
    let found = kernel_distance_of_subsets(&a, &b, 50, 100, 1).unwrap();
    assert_eq!(found, kernel_distance_of_subsets(&a, &b, 50, 100, 1).unwrap());
    assert_ne!(found, kernel_distance_of_subsets(&a, &b, 50, 100, 2).unwrap());
    assert!((found.mean - whole).abs() < 4.0 * found.std / 50f64.sqrt(), "{found:?} against {whole}");
    // A subset of all rows is the whole.
    let all = kernel_distance_of_subsets(&b, &b, 3, 300, 3).unwrap();
    assert_close_f64(all.mean, kernel_distance(&b, &b).unwrap(), 1e-9, 1e-12);
    assert!(all.std < 1e-12);
}

#[test]
fn radii_may_be_known_before() {
    let (real, fake) = (normal(500, 4, 302), normal(400, 4, 303) * 0.8 + 0.2);
    let radii = neighbour_radii(&real, 4).unwrap();
    assert_eq!(prdc_with_radii(&real, &radii, &fake, 4).unwrap(), prdc(&real, &fake, 4).unwrap());
}

/// Tables have rows that come many times: one-hot columns, ratings, small whole numbers.
#[test]
fn repeated_rows_are_as_good_as_others() {
    let whole = |n, seed, spread: f64| (normal(n, 2, seed) * spread).round();
    let one_hot = |n, seed| {
        let class = normal(n, 1, seed).gt(0.3).to_kind(Kind::Int64).squeeze_dim(1);
        class.one_hot(2).to_kind(Kind::Double)
    };
    for (name, real, fake, other) in [
        ("one-hot", one_hot(600, 310), one_hot(600, 311), one_hot(600, 312) * 2.0),
        ("few values", whole(600, 313, 1.0), whole(600, 314, 1.0), whole(600, 315, 1.0) + 0.5),
        ("many values", whole(600, 316, 8.0), whole(600, 317, 8.0), whole(600, 318, 8.0) + 90.0),
    ] {
        let found = prdc(&real, &fake, 5).unwrap();
        for (metric, value) in [("precision", found.precision), ("recall", found.recall), ("coverage", found.coverage)]
        {
            assert!(value > 0.9, "{name}: {metric} {value}");
        }
        assert!((found.density - 1.0).abs() < 0.15, "{name}: density {}", found.density);
        let far = prdc(&real, &other, 5).unwrap();
        assert!(far.precision < 0.5 && far.density < 0.5, "{name}: {far:?}");
    }
}

#[test]
fn impossible_input_is_explained() {
    let (a, b) = (normal(10, 4, 8), normal(10, 4, 9));
    let message = |result: gen_core::Result<f64>| result.unwrap_err().to_string();
    assert_eq!(
        message(frechet_distance(&a.narrow(0, 0, 1), &b)),
        "the Fréchet distance needs at least 2 real rows as [n, features]; found [1, 4]"
    );
    assert_eq!(
        message(frechet_distance(&a, &b.narrow(1, 0, 3))),
        "the Fréchet distance: real rows have 4 features, fake rows 3"
    );
    assert_eq!(message(kernel_distance(&a, &(&b / 0.0))), "the kernel distance: the fake features are not all finite");
    let subsets = |n, size| message(kernel_distance_of_subsets(&a, &b, n, size, 0).map(|found| found.mean));
    assert_eq!(subsets(3, 11), "the kernel distance: a subset of 11 rows is larger than the 10 real rows");
    assert_eq!(subsets(0, 5), "the kernel distance needs a subset of two rows or more, found 0 of 5 rows");
    assert_eq!(
        message(prdc_with_radii(&a, &neighbour_radii(&b.narrow(0, 0, 9), 3).unwrap(), &b, 3).map(|found| found.recall)),
        "precision and recall: 10 real rows need as many radii, found [9]"
    );
    assert!(prdc(&a, &b.narrow(0, 0, 5), 5).is_err());
    assert!(prdc(&a, &b, 0).is_err());
    assert!(mmd_squared(&a, &b.narrow(0, 0, 9), polynomial_kernel, Estimator::UStatistic).is_err());
    assert!(kernel_distance_standard_error(&a, &b, 6).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn zero_on_equal_sets_and_symmetric_and_blind_to_order(n in 8i64..60, d in 1i64..12, seed in 0u64..1000) {
        let (a, b) = (normal(n, d, seed), normal(n + 3, d, seed + 1) * 1.5 + 0.5);
        let order = Tensor::from_slice(&permutation(n as usize, seed, Purpose::Shuffle, 0));
        let shuffled = a.index_select(0, &order);

        prop_assert!(frechet_distance(&a, &shuffled).unwrap() < 1e-10);
        let ab = frechet_distance(&a, &b).unwrap();
        assert_close_f64(frechet_distance(&b, &a).unwrap(), ab, 1e-9, 1e-10);
        assert_close_f64(frechet_distance(&shuffled, &b).unwrap(), ab, 1e-9, 1e-10);
        // Rotations and shifts of both sets change nothing.
        let (rotation, _) = Tensor::linalg_qr(&normal(d, d, seed + 2), "reduced");
        let moved = |x: &Tensor| x.matmul(&rotation) + 7.0;
        assert_close_f64(frechet_distance(&moved(&a), &moved(&b)).unwrap(), ab, 1e-8, 1e-9);

        let kid = kernel_distance(&a, &b).unwrap();
        assert_close_f64(kernel_distance(&b, &a).unwrap(), kid, 1e-9, 1e-9);
        assert_close_f64(kernel_distance(&shuffled, &b).unwrap(), kid, 1e-9, 1e-9);
        prop_assert!(mmd_squared(&a, &shuffled, polynomial_kernel, Estimator::Biased).unwrap().abs() < 1e-8);

        // The blocks of the errors follow the order.
        let found = Prdc { standard_errors: None, ..prdc(&a, &b, 3).unwrap() };
        prop_assert_eq!(Prdc { standard_errors: None, ..prdc(&shuffled, &b, 3).unwrap() }, found);
        let swapped = prdc(&b, &a, 3).unwrap();
        prop_assert_eq!((swapped.precision, swapped.recall), (found.recall, found.precision));

        let nearest = one_nn_accuracy(&a, &b).unwrap();
        let swapped = one_nn_accuracy(&b, &shuffled).unwrap();
        prop_assert_eq!((swapped.real, swapped.fake), (nearest.fake, nearest.real));
        prop_assert_eq!(one_nn_accuracy(&a, &shuffled).unwrap().all, 0.0);
    }
}
