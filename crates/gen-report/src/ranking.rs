//! Which model is best, and which differences are only noise.

use std::cmp::Ordering;

use crate::metrics::{Key, TIMING_NOISE, has_direction};
use crate::models::{Model, Seeds};

/// A model's place.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Which of the models.
    pub(crate) model: usize,
    pub(crate) seeds: Seeds,
    /// By the median, 1 for the best; equal medians share it.
    pub(crate) rank: usize,
    /// The rank of the best model that this one cannot be told from.
    pub(crate) place: usize,
    /// Whether it cannot be told from rank 1; of rank 1 itself, whether any other cannot.
    pub(crate) tied: bool,
}

/// The trained models that have a number, best first; none of a number that has no better side.
///
/// `models` are of one data set. Two values are a tie where they differ by at most two standard errors of their
/// difference, or of the floor; where their ranges over seeds overlap; times also within [`TIMING_NOISE`].
pub(crate) fn places(models: &[Model<'_>], key: &Key) -> Vec<Place> {
    if !has_direction(&key.metric) {
        return Vec::new();
    }
    let floor_error = floor_error(models, key);
    let is_tie = |a: &Seeds, b: &Seeds| is_tie(a, b, floor_error, key.is_timing());
    let trained = models.iter().enumerate().filter(|(_, model)| !model.is_reference());
    let mut found: Vec<(usize, Seeds)> =
        trained.filter_map(|(index, model)| Some((index, model.seeds(key)?))).collect();
    found.sort_by(|(_, a), (_, b)| order(a, b));
    let mut places: Vec<Place> = Vec::new();
    for (position, (model, seeds)) in found.into_iter().enumerate() {
        let before = places.last();
        let rank =
            before.filter(|last| last.seeds.median == seeds.median).map_or(position + 1, |last| last.rank);
        // Who leads the group that the one before belongs to.
        let leader = before.and_then(|last| places.iter().find(|leader| leader.rank == last.place));
        let place = leader.filter(|leader| is_tie(&leader.seeds, &seeds)).map_or(rank, |leader| leader.place);
        let tied = places.first().is_some_and(|best| is_tie(&best.seeds, &seeds));
        places.push(Place { model, seeds, rank, place, tied });
    }
    let shared = places.iter().skip(1).any(|place| place.tied);
    if let Some(best) = places.first_mut() {
        best.tied = shared;
    }
    places
}

fn order(a: &Seeds, b: &Seeds) -> Ordering {
    if a.higher_is_better { b.median.total_cmp(&a.median) } else { a.median.total_cmp(&b.median) }
}

/// The standard error of the training rows' own number.
fn floor_error(models: &[Model<'_>], key: &Key) -> Option<f64> {
    let floor = models.iter().find(|model| model.is_reference() && model.runs[0].model() == "floor")?;
    floor.seeds(key)?.standard_error
}

fn is_tie(a: &Seeds, b: &Seeds, floor_error: Option<f64>, is_timing: bool) -> bool {
    let error = |seeds: &Seeds| seeds.standard_error.unwrap_or(0.0);
    let noise = (2.0 * error(a).hypot(error(b))).max(2.0 * floor_error.unwrap_or(0.0));
    let difference = (a.median - b.median).abs();
    let overlap = (a.n > 1 || b.n > 1) && a.min <= b.max && b.min <= a.max;
    let same_time = is_timing && difference <= TIMING_NOISE * a.median.abs().max(b.median.abs());
    difference <= noise || overlap || same_time
}

/// What is known of the floor of a number: the value of the floor's own run, or what the models' rows say.
pub(crate) fn floor(models: &[Model<'_>], key: &Key) -> Option<f64> {
    let reference = models.iter().find(|model| model.is_reference() && model.runs[0].model() == "floor");
    let own = reference.and_then(|model| model.seeds(key)).map(|seeds| seeds.median);
    own.or_else(|| models.iter().find_map(|model| model.seeds(key)?.floor))
}

/// Spearman's rank correlation, with mean ranks for equal values; `None` for fewer than three pairs or no spread.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.len() < 3 {
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
    let product =
        |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| (x - middle) * (y - middle)).sum() };
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (spread > 0.0).then(|| product(&a, &b) / spread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::tests::run_folder;
    use crate::runs::{Run, read_all};

    const HEADER: &str = "metric,space,parameter,value,standard_error,higher_is_better\n";

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

    fn summary(rows: &[(&str, &str)], metric: &str) -> Vec<(String, usize, usize, bool)> {
        let runs = runs(rows);
        let models = Model::all(&runs);
        let places = places(&models, &Key::new(metric, "s", ""));
        places.iter().map(|p| (models[p.model].label.clone(), p.rank, p.place, p.tied)).collect()
    }

    fn expect(model: &str, rank: usize, place: usize, tied: bool) -> (String, usize, usize, bool) {
        (model.to_owned(), rank, place, tied)
    }

    #[test]
    fn differences_within_two_standard_errors_are_ties() {
        let rows = [
            ("a-d-s0", "fd,s,,1.0,0.1,false"),
            ("b-d-s0", "fd,s,,1.2,0.1,false"),
            ("c-d-s0", "fd,s,,1.5,0.1,false"),
            ("e-d-s0", "fd,s,,1.6,0.1,false"),
            ("reference-floor", "fd,s,,0.1,0.01,false"),
        ];
        let expected = [
            expect("a", 1, 1, true),
            expect("b", 2, 1, true),
            expect("c", 3, 3, false),
            expect("e", 4, 3, false),
        ];
        assert_eq!(summary(&rows, "fd"), expected);
        let rows = [("a-d-s0", "class_share,s,,0.1,,false"), ("b-d-s0", "class_share,s,,0.2,,false")];
        assert!(summary(&rows, "class_share").is_empty());
    }

    #[test]
    fn the_noise_of_the_floor_and_ranges_over_seeds_make_ties_too() {
        let floor = [
            ("a-d-s0", "fd,s,,1.0,,false"),
            ("b-d-s0", "fd,s,,1.2,,false"),
            ("reference-floor", "fd,s,,0.1,0.15,false"),
        ];
        assert_eq!(summary(&floor, "fd"), [expect("a", 1, 1, true), expect("b", 2, 1, true)]);
        assert_eq!(summary(&floor[..2], "fd"), [expect("a", 1, 1, false), expect("b", 2, 2, false)]);
        let seeds = [
            ("a-d-s0", "recall,s,,0.5,,true"),
            ("a-d-s1", "recall,s,,0.9,,true"),
            ("b-d-s0", "recall,s,,0.6,,true"),
            ("c-d-s0", "recall,s,,0.4,,true"),
        ];
        assert_eq!(
            summary(&seeds, "recall"),
            [expect("a", 1, 1, true), expect("b", 2, 1, true), expect("c", 3, 3, false)]
        );
    }

    #[test]
    fn times_within_five_percent_are_ties() {
        let seeds = |median| Seeds {
            median,
            min: median,
            max: median,
            n: 1,
            standard_error: None,
            floor: None,
            higher_is_better: false,
        };
        assert!(is_tie(&seeds(180.0), &seeds(181.0), None, true));
        assert!(!is_tie(&seeds(180.0), &seeds(181.0), None, false));
        assert!(!is_tie(&seeds(180.0), &seeds(200.0), None, true));
        assert!(
            Key::new("train_seconds", "", "").is_timing()
                && Key::new("sample_latency_ms", "", "").is_timing()
        );
        assert!(!Key::new("parameters", "", "").is_timing());
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
    }
}
