//! Which model is best, and which differences are only noise.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::measures::Noise;
use crate::metric::Key;
use crate::models::{Model, Seeds};

/// The probability that the confidence interval of the difference between two equal models excludes zero.
const SIGNIFICANCE: f64 = 0.05;
/// Between single runs, a difference of at most this many standard errors is a tie.
const STANDARD_ERRORS: f64 = 2.0;
/// Times that differ by at most this fraction are a tie: repeated measurements differ as much.
const CLOCK_NOISE: f64 = 0.05;

/// A model's number, and its place.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Which of the models.
    pub(crate) model: usize,
    pub(crate) seeds: Seeds,
    /// `None` for a number that was measured once with an unknown error, and for infinite or NaN values where no model
    /// has a finite one.
    pub(crate) rank: Option<Rank>,
}

/// Where a model stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rank {
    /// By the mean, 1 for the best; equal means share a rank. Infinite and NaN values share the rank behind all finite
    /// numbers, including those without a known error, and are never the best.
    pub(crate) rank: usize,
    /// The rank of the best model that this one cannot be told from.
    pub(crate) place: usize,
    /// Whether it cannot be told from rank 1; of rank 1 itself, whether any other cannot.
    pub(crate) tied: bool,
}

impl Place {
    /// Whether it is at the top, alone or tied.
    pub(crate) fn leads(&self) -> bool {
        self.rank.is_some_and(|rank| rank.place == 1)
    }
}

/// The trained models that have a number: those with a rank, best first, then those without. Empty for a number without
/// a direction.
///
/// `models` are of one data set.
pub(crate) fn places(models: &[Model<'_>], key: &Key) -> Vec<Place> {
    let trained = models.iter().enumerate().filter(|(_, model)| !model.is_reference());
    let mut found: Vec<(usize, Seeds, f64)> = trained
        .filter_map(|(index, model)| {
            let seeds = model.seeds(key)?;
            let loss = seeds.loss?;
            Some((index, seeds, loss))
        })
        .collect();
    found.sort_by(|(_, a, x), (_, b, y)| class(a).cmp(&class(b)).then(x.total_cmp(y)));
    let noise = Differences { floor: floor_error(models, key), key_noise: key.noise() };
    let finite = found.iter().filter(|(_, seeds, _)| seeds.is_finite()).count();
    let mut places: Vec<(Place, f64)> = Vec::new();
    for (position, (model, seeds, loss)) in found.into_iter().enumerate() {
        let of_known = || {
            let before = places.last().and_then(|(place, x)| Some((*x, place.rank?)));
            let rank = match before {
                Some((x, rank)) if x == loss => rank.rank,
                _ => position + 1,
            };
            // Who leads the group that the one before belongs to.
            let leader = before.and_then(|(_, last)| {
                places.iter().find(|(leader, _)| leader.rank.is_some_and(|leader| leader.rank == last.place))
            });
            let ties = |(place, x): &&(Place, f64)| noise.is_tie((&place.seeds, *x), (&seeds, loss));
            let leader = leader.filter(ties).and_then(|(leader, _)| leader.rank);
            let tied = places.first().is_some_and(|best| ties(&best));
            Rank { rank, place: leader.map_or(rank, |leader| leader.place), tied }
        };
        let rank = match class(&seeds) {
            Class::Known => Some(of_known()),
            Class::NotFinite if finite > 0 => Some(Rank { rank: finite + 1, place: finite + 1, tied: false }),
            Class::NotFinite | Class::Unknown => None,
        };
        places.push((Place { model, seeds, rank }, loss));
    }
    let shared = places.iter().skip(1).any(|(place, _)| place.rank.is_some_and(|rank| rank.tied));
    if let Some((Place { rank: Some(best), .. }, _)) = places.first_mut() {
        best.tied = shared;
    }
    places.into_iter().map(|(place, _)| place).collect()
}

/// The parts of a ranking, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Known,
    /// Infinite or NaN: behind everything that is a number, and no error changes that.
    NotFinite,
    /// A number whose error nobody knows.
    Unknown,
}

fn class(seeds: &Seeds) -> Class {
    match seeds.error {
        _ if !seeds.is_finite() => Class::NotFinite,
        Some(_) => Class::Known,
        None => Class::Unknown,
    }
}

/// When a difference is none.
struct Differences {
    /// The standard error of the training rows' own number.
    floor: Option<f64>,
    key_noise: Noise,
}

impl Differences {
    /// Whether two means, with their losses, cannot be told apart.
    ///
    /// Between models of which one was trained with several seeds: the 95 % interval of the difference of the means
    /// holds zero, by Welch's t (1947) with the degrees of freedom of Welch and Satterthwaite. Between two single
    /// runs: the difference is at most two of its standard errors. Besides, no difference counts that is below two
    /// standard errors of the floor, or a twentieth of a time.
    fn is_tie(&self, (a, x): (&Seeds, f64), (b, y): (&Seeds, f64)) -> bool {
        let (Some(first), Some(second)) = (a.error, b.error) else { return false };
        let parts = [first, second].map(|error| (error.standard_error.powi(2), error.freedom));
        let variance = parts[0].0 + parts[1].0;
        let estimated: f64 = parts.iter().map(|(part, freedom)| part.powi(2) / freedom).sum();
        let quantile = if estimated > 0.0 { student_quantile(variance.powi(2) / estimated) } else { STANDARD_ERRORS };
        let noise = quantile * variance.sqrt();
        let floor = STANDARD_ERRORS * self.floor.unwrap_or(0.0);
        let clock = match self.key_noise {
            Noise::Clock => CLOCK_NOISE * a.mean.abs().max(b.mean.abs()),
            Noise::Counted | Noise::Unknown => 0.0,
        };
        (x - y).abs() <= noise.max(floor).max(clock)
    }
}

/// How many standard errors a two-sided interval reaches to.
fn student_quantile(freedom: f64) -> f64 {
    // Above this many degrees of freedom the distribution is a normal one to three digits, and the quantile less exact.
    let found = StudentsT::new(0.0, 1.0, freedom.clamp(1.0, 1e4));
    found.map_or(f64::INFINITY, |student| student.inverse_cdf(1.0 - SIGNIFICANCE / 2.0))
}

/// The standard error of the training rows' own number.
fn floor_error(models: &[Model<'_>], key: &Key) -> Option<f64> {
    floor_model(models)?.seeds(key)?.error.map(|error| error.standard_error)
}

/// The reference that has training rows in place of samples.
pub(crate) fn floor_model<'a, 'b>(models: &'a [Model<'b>]) -> Option<&'a Model<'b>> {
    models.iter().find(|model| model.is_reference() && model.runs[0].model() == "floor")
}

/// The floor of a number: the value of the floor's own run, or failing that the one in the models' rows.
pub(crate) fn floor(models: &[Model<'_>], key: &Key) -> Option<f64> {
    let own = floor_model(models).and_then(|model| model.seeds(key)).map(|seeds| seeds.mean);
    own.or_else(|| models.iter().find_map(|model| model.seeds(key)?.floor)).filter(|floor| floor.is_finite())
}

/// Spearman's rank correlation, with mean ranks for equal values; `None` for fewer than three pairs, no spread, or
/// where a value is NaN, which has no rank.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.len() < 3 || pairs.iter().any(|(a, b)| a.is_nan() || b.is_nan()) {
        return None;
    }
    let ranks = |values: Vec<f64>| -> Vec<f64> {
        let rank = |value: &f64| {
            let below = values.iter().filter(|other| *other < value).count() as f64;
            let equal = values.iter().filter(|other| *other == value).count() as f64;
            below + (equal + 1.0) / 2.0
        };
        values.iter().map(rank).collect()
    };
    let a = ranks(pairs.iter().map(|pair| pair.0).collect());
    let b = ranks(pairs.iter().map(|pair| pair.1).collect());
    let middle = (pairs.len() as f64 + 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| (x - middle) * (y - middle)).sum() };
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (spread > 0.0).then(|| product(&a, &b) / spread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direction::Direction;
    use crate::models::MeanError;
    use crate::runs::{Run, read_all};
    use crate::testing::run_folder;

    const HEADER: &str = "metric,space,parameter,value,standard_error,direction,target\n";

    fn runs(rows: &[(&str, &str)]) -> Vec<Run> {
        let folder = tempfile::tempdir().unwrap();
        for (name, metrics) in rows {
            let model = name.split('-').next().unwrap();
            let model = if model == "reference" { "floor" } else { model };
            let family = if model == "floor" { "reference" } else { "vae" };
            let run = run_folder(folder.path(), name, Some(&format!("family,model\n{family},{model}\n")));
            std::fs::write(run.join("metrics.csv"), format!("{HEADER}{metrics}\n")).unwrap();
        }
        read_all(folder.path()).unwrap()
    }

    /// The name of a model, and its rank, place and tie.
    type Told = (String, Option<(usize, usize, bool)>);

    fn summary(rows: &[(&str, &str)], metric: &str) -> Vec<Told> {
        let runs = runs(rows);
        let models = Model::all(&runs);
        let places = places(&models, &Key::new(metric, "s", ""));
        let rank = |place: &Place| place.rank.map(|rank| (rank.rank, rank.place, rank.tied));
        places.iter().map(|place| (models[place.model].label.clone(), rank(place))).collect()
    }

    fn expect(model: &str, rank: usize, place: usize, tied: bool) -> Told {
        (model.to_owned(), Some((rank, place, tied)))
    }

    #[test]
    fn differences_within_two_standard_errors_are_ties() {
        let rows = [
            ("a-d-s0", "fd,s,,1.0,0.1,lower,"),
            ("b-d-s0", "fd,s,,1.2,0.1,lower,"),
            ("c-d-s0", "fd,s,,1.5,0.1,lower,"),
            ("e-d-s0", "fd,s,,1.6,0.1,lower,"),
            ("reference-floor", "fd,s,,0.1,0.01,lower,"),
        ];
        let expected =
            [expect("a", 1, 1, true), expect("b", 2, 1, true), expect("c", 3, 3, false), expect("e", 4, 3, false)];
        assert_eq!(summary(&rows, "fd"), expected);
        let rows = [("a-d-s0", "class_share,s,,0.1,,,"), ("b-d-s0", "class_share,s,,0.2,,,")];
        assert!(summary(&rows, "class_share").is_empty());
    }

    #[test]
    fn a_number_without_an_error_has_no_place() {
        let rows = [
            ("a-d-s0", "fd,s,,1.0,,lower,"),
            ("b-d-s0", "fd,s,,1.2,0.1,lower,"),
            ("c-d-s0", "fd,s,,9,0.1,lower,"),
            ("reference-floor", "fd,s,,0.1,0.15,lower,"),
        ];
        assert_eq!(summary(&rows, "fd"), [expect("b", 1, 1, false), expect("c", 2, 2, false), ("a".to_owned(), None)]);
    }

    #[test]
    fn the_noise_of_the_floor_makes_ties_too() {
        let rows = [
            ("a-d-s0", "fd,s,,1.0,0.01,lower,"),
            ("b-d-s0", "fd,s,,1.2,0.01,lower,"),
            ("reference-floor", "fd,s,,0.1,0.15,lower,"),
        ];
        assert_eq!(summary(&rows, "fd"), [expect("a", 1, 1, true), expect("b", 2, 1, true)]);
        assert_eq!(summary(&rows[..2], "fd"), [expect("a", 1, 1, false), expect("b", 2, 2, false)]);
    }

    #[test]
    fn infinity_and_nan_come_last_and_so_does_their_model() {
        let rows = [
            ("a-d-s0", "fd,s,,1.0,0.1,lower,"),
            ("a-d-s1", "fd,s,,inf,,lower,"),
            ("b-d-s0", "fd,s,,NaN,,lower,"),
            ("c-d-s0", "fd,s,,90,0.1,lower,"),
            ("e-d-s0", "fd,s,,-inf,0.1,lower,"),
            ("f-d-s0", "fd,s,,2,,lower,"),
        ];
        let mut found = summary(&rows, "fd");
        // Among those that are not finite there is no order.
        found[1..4].sort();
        let expected = [
            expect("c", 1, 1, false),
            expect("a", 3, 3, false),
            expect("b", 3, 3, false),
            expect("e", 3, 3, false),
            ("f".to_owned(), None),
        ];
        assert_eq!(found, expected);
    }

    /// Not even where no number has an error, or there is no number.
    #[test]
    fn infinity_and_nan_never_lead() {
        let rows = [
            ("a-d-s0", "fd,s,,NaN,,lower,"),
            ("b-d-s0", "fd,s,,-inf,0.1,lower,"),
            ("c-d-s0", "fd,s,,2,,lower,"),
            ("e-d-s0", "fd,s,,1,,lower,"),
        ];
        let mut found = summary(&rows, "fd");
        found.sort();
        let (c, e) = (("c".to_owned(), None), ("e".to_owned(), None));
        assert_eq!(found, [expect("a", 3, 3, false), expect("b", 3, 3, false), c, e]);
        let mut found = summary(&rows[..2], "fd");
        found.sort();
        assert_eq!(found, [("a".to_owned(), None), ("b".to_owned(), None)]);
        let runs = runs(&rows);
        for models in [Model::all(&runs), Model::all(&runs[..2])] {
            let places = places(&models, &Key::new("fd", "s", ""));
            assert!(places.iter().all(|place| !place.leads()), "{places:?}");
        }
    }

    #[test]
    fn a_target_ranks_by_the_distance_from_it() {
        let rows = [
            ("a-d-s0", "one_nn_accuracy,s,,0.3,0.01,target,0.5"),
            ("b-d-s0", "one_nn_accuracy,s,,0.6,0.01,target,0.5"),
            ("c-d-s0", "one_nn_accuracy,s,,0.9,0.01,target,0.5"),
            // 0.1 off each time, though 0.5 on average.
            ("e-d-s0", "one_nn_accuracy,s,,0.4,0.01,target,0.5"),
            ("e-d-s1", "one_nn_accuracy,s,,0.6,0.01,target,0.5"),
        ];
        assert_eq!(
            summary(&rows, "one_nn_accuracy"),
            [expect("b", 1, 1, true), expect("e", 1, 1, true), expect("a", 3, 3, false), expect("c", 4, 4, false)]
        );
    }

    /// A set of seeds of a number of which less is better.
    fn seeds(values: &[f64]) -> (Seeds, f64) {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let error = match values.len() {
            1 => None,
            _ => Some(MeanError { standard_error: (variance / n).sqrt(), freedom: n - 1.0 }),
        };
        let (min, max, direction) = (mean, mean, Direction::Lower);
        (Seeds { mean, min, max, n: values.len(), error, floor: None, direction, loss: Some(mean) }, mean)
    }

    fn is_tie(a: &(Seeds, f64), b: &(Seeds, f64), key_noise: Noise) -> bool {
        Differences { floor: None, key_noise }.is_tie((&a.0, a.1), (&b.0, b.1))
    }

    /// Between seeds Welch's interval decides, by the numbers of scipy.stats.ttest_ind(equal_var=False): whether the
    /// ranges overlap does not matter.
    #[test]
    fn seeds_are_compared_by_the_interval_of_their_difference() {
        let tie = |a: &[f64], b: &[f64]| is_tie(&seeds(a), &seeds(b), Noise::Unknown);
        // p = 0.0220: the ranges overlap, and more seeds do not make more ties.
        let a = [1.0, 1.4, 1.2, 1.3, 1.1, 1.9];
        let b = [1.6, 2.0, 1.8, 1.5, 1.7, 1.85];
        assert!(!tie(&a, &b));
        // Two seeds each say little: p = 0.173, though the ranges are far apart.
        assert!(tie(&[1.0, 1.1], &[1.5, 1.9]));
        assert!(!tie(&[1.0, 1.01], &[1.5, 1.51]));
    }

    /// Tables of Student's distribution.
    #[test]
    fn quantiles_of_student() {
        for (freedom, expected) in [
            (1.0, 12.7062047),
            (2.0, 4.3026527),
            (4.3, 2.7016949),
            (10.0, 2.2281389),
            (1000.0, 1.9623391),
            (1e9, 1.9602012),
        ] {
            let found = student_quantile(freedom);
            assert!((found - expected).abs() < 1e-5, "{freedom}: {found}");
        }
    }

    #[test]
    fn times_within_five_percent_are_ties() {
        let once = |value: f64| {
            let (seeds, mean) = seeds(&[value]);
            let error = Some(MeanError { standard_error: 0.0, freedom: f64::INFINITY });
            (Seeds { error, ..seeds }, mean)
        };
        assert!(is_tie(&once(180.0), &once(181.0), Noise::Clock));
        assert!(!is_tie(&once(180.0), &once(181.0), Noise::Counted));
        assert!(!is_tie(&once(180.0), &once(200.0), Noise::Clock));
        assert_eq!(Key::new("train_seconds", "", "").noise(), Noise::Clock);
        assert_eq!(Key::new("sample_latency_ms", "", "device=cpu").noise(), Noise::Clock);
        assert_eq!(Key::new("parameters", "", "").noise(), Noise::Counted);
        assert_eq!(Key::new("peak_rss_mib", "", "").noise(), Noise::Unknown);
    }

    #[test]
    fn rank_correlation() {
        assert_eq!(spearman(&[(1.0, 1.0), (2.0, 5.0), (3.0, 9.0)]), Some(1.0));
        assert_eq!(spearman(&[(1.0, 9.0), (2.0, 5.0), (3.0, 1.0)]), Some(-1.0));
        // Ranks 1, 2, 3, 4 against 1, 3.5, 3.5, 2.
        let with_ties = spearman(&[(1.0, 1.0), (2.0, 3.0), (3.0, 3.0), (4.0, 2.0)]).unwrap();
        assert!((with_ties - 0.1f64.sqrt()).abs() < 1e-12, "{with_ties}");
        assert_eq!(spearman(&[(1.0, 1.0), (2.0, 2.0)]), None);
        assert_eq!(spearman(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(spearman(&[(1.0, 1.0), (2.0, 2.0), (f64::INFINITY, 3.0)]), Some(1.0));
        for with_nan in [(f64::NAN, 3.0), (3.0, f64::NAN)] {
            assert_eq!(spearman(&[(1.0, 1.0), (2.0, 2.0), with_nan]), None);
        }
    }
}
