//! Standard errors against the spread of the numbers over independent draws of both sets.

use gen_core::rng::{Purpose, derive};
use gen_eval::{
    Estimate, Estimator, NearestTraining, Subsets, block_standard_error, class_histogram_distance, copied_share,
    energy_distance_estimate, kernel_distance_estimate, kernel_distance_of_subsets, mmd_squared_estimate,
    one_nn_accuracy, prdc, random_directions, rbf_kernel, sliced_wasserstein, wasserstein_exact,
};
use tch::Tensor;

use super::normal;

/// Draws behind each spread, which is known to 13 % by them.
const DRAWS: u64 = 30;

/// Two sets that are drawn anew for each `draw`.
type Sets = fn(u64) -> (Tensor, Tensor);

/// Of one distribution.
fn alike(draw: u64) -> (Tensor, Tensor) {
    (normal(300, 4, 1000 + 2 * draw), normal(300, 4, 1001 + 2 * draw))
}

/// A model that is wrong in place and width.
fn apart(draw: u64) -> (Tensor, Tensor) {
    let (real, fake) = alike(draw + 500);
    (real, fake * 1.3 + 0.4)
}

/// A model that has half of the data.
fn half(draw: u64) -> (Tensor, Tensor) {
    let (real, fake) = alike(draw + 900);
    let _ = real.narrow(1, 0, 1).g_mul_scalar_(4.0);
    let _ = fake.narrow(1, 0, 1).abs_().g_mul_scalar_(4.0);
    (real, fake)
}

/// Whether the stated errors are the spread of the values, within `from..to` times.
fn check(name: &str, values: &[Estimate], from: f64, to: f64) {
    let numbers: Vec<f64> = values.iter().map(|found| found.value).collect();
    let spread = Tensor::from_slice(&numbers).std(true).double_value(&[]);
    let squares = values.iter().map(|found| found.standard_error.unwrap().powi(2)).sum::<f64>();
    let stated = (squares / values.len() as f64).sqrt();
    let ratio = stated / spread;
    println!("{name}: spread {spread:.3e}, stated {stated:.3e}, ratio {ratio:.2}");
    assert!((from..to).contains(&ratio), "{name}: spread {spread}, stated {stated}");
}

fn over(sets: Sets, metric: impl Fn(&Tensor, &Tensor) -> Estimate) -> Vec<Estimate> {
    (0..DRAWS)
        .map(|draw| {
            let (real, fake) = sets(draw);
            metric(&real, &fake)
        })
        .collect()
}

const SETS: [(&str, Sets); 3] = [("alike", alike), ("apart", apart), ("half", half)];

#[test]
fn kernel_and_energy_distances() {
    for (name, sets) in SETS {
        let kid = |real: &Tensor, fake: &Tensor| kernel_distance_estimate(real, fake).unwrap();
        check(&format!("kid {name}"), &over(sets, kid), 0.65, 1.5);
        let sigmas = [1.0, 2.0];
        let mmd = |real: &Tensor, fake: &Tensor| {
            mmd_squared_estimate(real, fake, rbf_kernel(&sigmas), Estimator::Unbiased).unwrap()
        };
        check(&format!("mmd {name}"), &over(sets, mmd), 0.65, 1.5);
        let energy = |real: &Tensor, fake: &Tensor| energy_distance_estimate(real, fake).unwrap();
        check(&format!("energy {name}"), &over(sets, energy), 0.65, 1.5);
    }
}

#[test]
fn the_kernel_distance_of_subsets_that_share_their_rows() {
    for (name, sets) in SETS {
        let subsets = |real: &Tensor, fake: &Tensor| {
            let found: Subsets = kernel_distance_of_subsets(real, fake, 40, 100, 0).unwrap();
            let whole = kernel_distance_estimate(real, fake).unwrap();
            Estimate { value: found.mean, standard_error: found.standard_error(40, whole) }
        };
        check(&format!("kid of subsets {name}"), &over(sets, subsets), 0.65, 1.6);
    }
}

#[test]
fn precision_recall_density_and_coverage() {
    for (name, sets) in SETS {
        let found: Vec<_> = (0..DRAWS)
            .map(|draw| {
                let (real, fake) = sets(draw);
                prdc(&real, &fake, 3).unwrap()
            })
            .collect();
        let each = |value: fn(&gen_eval::Prdc) -> (f64, f64)| -> Vec<Estimate> {
            let estimate = |(value, error)| Estimate { value, standard_error: Some(error) };
            found.iter().map(|found| estimate(value(found))).collect()
        };
        check(
            &format!("precision {name}"),
            &each(|found| (found.precision, found.standard_errors.unwrap().precision)),
            0.7,
            2.0,
        );
        check(
            &format!("recall {name}"),
            &each(|found| (found.recall, found.standard_errors.unwrap().recall)),
            0.7,
            2.0,
        );
        check(
            &format!("density {name}"),
            &each(|found| (found.density, found.standard_errors.unwrap().density)),
            0.7,
            2.0,
        );
        check(
            &format!("coverage {name}"),
            &each(|found| (found.coverage, found.standard_errors.unwrap().coverage)),
            0.7,
            2.0,
        );
    }
}

#[test]
fn metrics_whose_errors_are_of_blocks() {
    let directions = random_directions(4, 50, 0);
    for (name, sets) in SETS {
        let of = |metric: &dyn Fn(&Tensor, &Tensor) -> gen_core::Result<f64>| {
            over(sets, |real, fake| Estimate {
                value: metric(real, fake).unwrap(),
                standard_error: Some(block_standard_error(real, fake, 10, metric).unwrap()),
            })
        };
        let sliced = of(&|real, fake| Ok(sliced_wasserstein(real, fake, &directions)?.w2));
        check(&format!("sliced W2 {name}"), &sliced, 0.65, 2.0);
        check(&format!("W2 {name}"), &of(&|real, fake| wasserstein_exact(real, fake, 2.0)), 0.65, 2.5);
        check(&format!("1-NN {name}"), &of(&|real, fake| Ok(one_nn_accuracy(real, fake)?.all)), 0.65, 1.7);
    }
}

#[test]
fn histograms_of_classes() {
    let classes = |n: i64, seed: u64, skew: f64| {
        let uniform = |i: i64| (derive(seed, Purpose::Data, i as u64) >> 11) as f64 / (1u64 << 53) as f64;
        let values: Vec<i64> = (0..n).map(|i| (10.0 * uniform(i).powf(skew)) as i64).collect();
        Tensor::from_slice(&values)
    };
    for (name, skew) in [("alike", 1.0), ("skewed", 1.6)] {
        let found: Vec<_> = (0..DRAWS)
            .map(|i| {
                let (real, fake) = (classes(400, 2 * i, 1.0), classes(600, 2 * i + 1, skew));
                class_histogram_distance(&real, &fake, 10).unwrap()
            })
            .collect();
        let kl: Vec<Estimate> = found.iter().map(|found| found.kl).collect();
        // Of classes alike it is quadratic in the shares, and the stated error too large.
        check(&format!("class KL {name}"), &kl, 0.65, 2.5);
        let variation: Vec<Estimate> = found.iter().map(|found| found.total_variation).collect();
        check(&format!("class TV {name}"), &variation, 0.65, 2.2);
    }
}

#[test]
fn tests_for_copies() {
    let train = normal(1000, 6, 1);
    let found: Vec<_> = (0..DRAWS)
        .map(|i| {
            let (test, fake) = (normal(400, 6, 3000 + 2 * i), normal(500, 6, 3001 + 2 * i) * 1.1);
            // A tenth are copies.
            fake.narrow(0, 0, 50).copy_(&train.narrow(0, 0, 50));
            let find = |x: &Tensor| NearestTraining::find(&train, x, &mut |_, _| ()).unwrap();
            (find(&fake).auth_pct(&train).unwrap(), find(&fake).against(&find(&test)).unwrap(), {
                copied_share(&train, &test, &(normal(500, 6, 5001 + 2 * i) * 0.9)).unwrap()
            })
        })
        .collect();
    // The copies are the same in every draw, and vary less than rows that are drawn anew.
    let authentic: Vec<Estimate> = found.iter().map(|found| found.0).collect();
    check("AuthPct", &authentic, 0.65, 1.7);
    let nearness: Vec<Estimate> =
        found.iter().map(|found| Estimate { value: found.1.z, standard_error: found.1.standard_error }).collect();
    check("C_T", &nearness, 0.65, 1.6);
    let copied: Vec<Estimate> = found
        .iter()
        .map(|found| Estimate { value: found.2.share, standard_error: Some(found.2.standard_error) })
        .collect();
    check("copied share", &copied, 0.65, 2.0);
    // With other training rows too.
    let authentic: Vec<Estimate> = (0..DRAWS)
        .map(|i| {
            let (train, fake) = (normal(300, 6, 6000 + 2 * i), normal(500, 6, 6001 + 2 * i));
            NearestTraining::find(&train, &fake, &mut |_, _| ()).unwrap().auth_pct(&train).unwrap()
        })
        .collect();
    check("AuthPct of other training rows", &authentic, 0.65, 1.6);
}
