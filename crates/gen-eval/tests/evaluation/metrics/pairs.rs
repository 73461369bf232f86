//! Degenerate and unequal sets against a numpy and scipy program of the definitions.

use gen_core::testing::assert_close_f64;
use gen_eval::{
    auth_pct, energy_distance, frechet_distance, kernel_distance, one_nn_accuracy, prdc, sliced_wasserstein,
    vendi_score, wasserstein_exact,
};
use tch::Tensor;

use super::matrix;

struct Expected {
    fd: f64,
    kid: f64,
    /// Precision, recall, density and coverage at k = 3 and at k = 5.
    prdc: [[f64; 4]; 2],
    /// Of orders 1, 2 and infinity, of real and of fake rows.
    vendi: [[f64; 3]; 2],
    sliced_w1: f64,
    energy: f64,
    energy_of_first: f64,
    auth_pct: f64,
    /// All, real and fake.
    one_nn: [f64; 3],
    w2_squared: Option<f64>,
}

fn check(name: &str, real: &Tensor, fake: &Tensor, expected: &Expected) {
    println!("{name}");
    let close = |actual: f64, expected: f64| assert_close_f64(actual, expected, 1e-9, 1e-12);
    close(frechet_distance(real, fake).unwrap(), expected.fd);
    close(kernel_distance(real, fake).unwrap(), expected.kid);
    for (k, expected) in [3, 5].into_iter().zip(expected.prdc) {
        let found = prdc(real, fake, k).unwrap();
        let found = [found.precision, found.recall, found.density, found.coverage];
        found.into_iter().zip(expected).for_each(|(found, expected)| close(found, expected));
    }
    for (x, expected) in [real, fake].into_iter().zip(expected.vendi) {
        for (order, expected) in [1.0, 2.0, f64::INFINITY].into_iter().zip(expected) {
            close(vendi_score(x, order).unwrap(), expected);
        }
    }
    let directions = matrix(32, 8, |m, j| (1.7 * m + 0.9 * j + 0.61 * m * j + 0.3).cos());
    close(sliced_wasserstein(real, fake, &directions).unwrap().w1, expected.sliced_w1);
    close(energy_distance(real, fake).unwrap(), expected.energy);
    let first = energy_distance(&real.narrow(1, 0, 1), &fake.narrow(1, 0, 1)).unwrap();
    assert_close_f64(first.sqrt(), expected.energy_of_first, 1e-9, 1e-7);
    close(auth_pct(real, fake).unwrap(), expected.auth_pct);
    let found = one_nn_accuracy(real, fake).unwrap();
    [found.all, found.real, found.fake].into_iter().zip(expected.one_nn).for_each(|(a, b)| close(a, b));
    match expected.w2_squared {
        Some(expected) => close(wasserstein_exact(real, fake, 2.0).unwrap().powi(2), expected),
        None => assert!(wasserstein_exact(real, fake, 2.0).is_err()),
    }
}

fn sets() -> (Tensor, Tensor) {
    let real = matrix(64, 8, |i, j| (0.37 * (13.0 * i + 7.0 * j + 3.0 * i * j)).sin());
    let fake = matrix(64, 8, |i, j| 0.9 * (0.53 * (11.0 * i + 5.0 * j + 2.0 * i * j) + 0.25).sin() + 0.15 + 0.02 * j);
    (real, fake)
}

const VENDI: [f64; 3] = [7.566792773968416, 7.3359543667481715, 5.878749316628656];

#[test]
fn fewer_rows_than_features() {
    let (real, fake) = sets();
    let expected = Expected {
        fd: 5.136353208750516,
        kid: 0.9627386444699735,
        prdc: [[0.5, 0.5, 4.0 / 9.0, 5.0 / 6.0], [5.0 / 6.0, 1.0, 19.0 / 30.0, 1.0]],
        vendi: [
            [4.821991301628762, 4.323775226403103, 3.182645524237549],
            [4.374633622222248, 3.6359009183807007, 2.4080755390724],
        ],
        sliced_w1: 0.6003592930074744,
        energy: 1.7500837143805201,
        energy_of_first: 0.4136892858606312,
        auth_pct: 500.0 / 6.0,
        one_nn: [5.0 / 6.0; 3],
        w2_squared: Some(6.513657491739509),
    };
    check("6 rows of 8", &real.narrow(0, 0, 6), &fake.narrow(0, 0, 6), &expected);
}

#[test]
fn unequal_sizes() {
    let (real, fake) = sets();
    let expected = Expected {
        fd: 0.9249441438191033,
        kid: 0.219395613544636,
        prdc: [[0.6, 1.0, 0.45, 0.5], [1.0, 1.0, 1.045, 0.984375]],
        vendi: [VENDI, [7.691729338440754, 7.323620383363776, 4.480751859728803]],
        sliced_w1: 0.24858787926435422,
        energy: 0.309094899967437,
        energy_of_first: 0.1645390702749885,
        auth_pct: 95.0,
        one_nn: [75.0 / 104.0, 0.953125, 0.35],
        w2_squared: None,
    };
    check("64 against 40", &real, &fake.narrow(0, 0, 40), &expected);
}

#[test]
fn one_row_with_small_noise() {
    let (real, fake) = sets();
    let expected = Expected {
        fd: 6.527151245104498,
        kid: 1.6172905895674954,
        prdc: [[1.0, 0.015625, 1.0416666666666667, 0.0625], [1.0, 0.015625, 1.49375, 0.125]],
        vendi: [VENDI, [1.0010442346565585, 1.0001696767530621, 1.0000848353096512]],
        sliced_w1: 0.6481646516015129,
        energy: 2.332050622485746,
        energy_of_first: 0.675400768294546,
        auth_pct: 0.0,
        one_nn: [0.984375, 0.96875, 1.0],
        w2_squared: Some(6.481978264735782),
    };
    check("collapsed", &real, &(real.narrow(0, 0, 1) + fake * 0.01), &expected);
}

#[test]
fn the_same_rows_in_reverse() {
    let (real, _) = sets();
    let expected = Expected {
        fd: 0.0,
        kid: -0.0632808627736301,
        prdc: [[1.0; 4]; 2],
        vendi: [VENDI; 2],
        sliced_w1: 0.0,
        energy: 0.0,
        energy_of_first: 0.0,
        auth_pct: 0.0,
        one_nn: [0.0; 3],
        w2_squared: Some(0.0),
    };
    check("memorised", &real, &real.flip([0]), &expected);
}
