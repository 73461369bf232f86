//! Runs of one model that differ in their seeds, taken together.

use crate::metrics::{Key, Metric, costs};
use crate::runs::Run;

/// The runs of one model, or of one reference.
#[derive(Debug)]
pub(crate) struct Model<'a> {
    /// Its name, told apart from all others.
    pub(crate) label: String,
    pub(crate) runs: Vec<&'a Run>,
}

/// A number over the seeds of a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seeds {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) n: usize,
    /// Root mean square of the standard errors, of the runs that have one.
    pub(crate) standard_error: Option<f64>,
    pub(crate) floor: Option<f64>,
    pub(crate) higher_is_better: bool,
}

impl<'a> Model<'a> {
    /// All models, in the order of their first runs.
    pub(crate) fn all(runs: &'a [Run]) -> Vec<Self> {
        let mut models: Vec<Model<'a>> = Vec::new();
        for run in runs {
            match models.iter_mut().find(|model| is_same(model.runs[0], run)) {
                Some(model) => model.runs.push(run),
                None => models.push(Model { label: label(run, runs), runs: vec![run] }),
            }
        }
        models
    }

    pub(crate) fn family(&self) -> &'a str {
        self.runs[0].family()
    }

    pub(crate) fn dataset(&self) -> &'a str {
        self.runs[0].text("dataset")
    }

    pub(crate) fn is_reference(&self) -> bool {
        self.runs[0].is_reference()
    }

    /// A number over the seeds; `None` where no run has it.
    pub(crate) fn seeds(&self, key: &Key) -> Option<Seeds> {
        let found: Vec<Metric> = self.runs.iter().filter_map(|run| measurement(run, key)).collect();
        let first = found.first()?;
        let values: Vec<f64> = found.iter().map(|metric| metric.value).collect();
        let floors: Vec<f64> = found.iter().filter_map(|metric| metric.floor).collect();
        let errors: Vec<f64> = found.iter().filter_map(|metric| metric.standard_error).collect();
        let mean_square = errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64;
        Some(Seeds {
            median: median(&values)?,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            n: values.len(),
            standard_error: (!errors.is_empty()).then(|| mean_square.sqrt()),
            floor: median(&floors),
            higher_is_better: first.higher_is_better,
        })
    }
}

/// Every key that a run has, costs last, in the order in which they come first.
pub(crate) fn keys(runs: &[Run]) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    let measured = runs.iter().flat_map(|run| run.metrics.iter().cloned());
    for metric in measured.chain(runs.iter().flat_map(costs)) {
        if !keys.contains(&metric.key) {
            keys.push(metric.key);
        }
    }
    keys
}

fn measurement(run: &Run, key: &Key) -> Option<Metric> {
    if key.is_cost() {
        return costs(run).into_iter().find(|metric| metric.key == *key);
    }
    run.metrics.iter().find(|metric| metric.key == *key).cloned()
}

/// The middle value, or the mean of the two in the middle; `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Whether two runs differ in their seeds at most.
pub(crate) fn is_same(a: &Run, b: &Run) -> bool {
    let of = |run: &Run| (run.family().to_owned(), run.model().to_owned(), run.text("dataset").to_owned());
    of(a) == of(b) && a.stem() == b.stem() && a.folder.parent() == b.folder.parent()
}

/// The name of a run's model; where runs of it differ in more than the seed, the name of the folder.
pub(crate) fn label(run: &Run, runs: &[Run]) -> String {
    if run.model().is_empty() {
        return run.name().to_owned();
    }
    let others: Vec<&Run> =
        runs.iter().filter(|other| other.model() == run.model() && !is_same(other, run)).collect();
    if others.is_empty() {
        return run.model().to_owned();
    }
    if others.iter().all(|other| other.stem() != run.stem()) {
        return run.stem().to_owned();
    }
    let above = run.folder.parent().and_then(std::path::Path::file_name).unwrap_or_default();
    format!("{}/{}", above.to_string_lossy(), run.stem())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::{read_folders, tests::run_folder};

    #[test]
    fn seeds_are_taken_together_and_other_settings_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let rows = [
            ("a/vae-d-s0", 3.0),
            ("a/vae-d-s1", 1.0),
            ("a/vae-d-s2", 2.0),
            ("a/vae-beta-s0", 9.0),
            ("b/vae-d-s0", 7.0),
        ];
        let folders: Vec<_> = rows
            .iter()
            .map(|(name, fd)| {
                let text = format!("model,family,dataset,feature_space,fd,fd_floor,train_seconds\nvae,vae,d,pca-2,{fd},0.5,10\n");
                run_folder(folder.path(), name, Some(&text))
            })
            .collect();
        let runs = read_folders(&folders);
        let models = Model::all(&runs);
        let mut labels: Vec<&str> = models.iter().map(|model| model.label.as_str()).collect();
        labels.sort_unstable();
        assert_eq!(labels, ["a/vae-d", "b/vae-d", "vae-beta"]);
        let model = models.iter().find(|model| model.label == "a/vae-d").unwrap();
        let seeds = model.seeds(&Key::new("fd", "pca-2", "")).unwrap();
        assert_eq!((seeds.median, seeds.min, seeds.max, seeds.n), (2.0, 1.0, 3.0, 3));
        assert_eq!((seeds.floor, seeds.standard_error), (Some(0.5), None));
        assert!(model.seeds(&Key::new("fd", "random-64", "")).is_none());
        assert_eq!(model.seeds(&Key::new("train_seconds", "", "")).unwrap().median, 10.0);
        let metrics: Vec<String> = keys(&runs).into_iter().map(|key| key.metric).collect();
        assert_eq!(metrics, ["fd", "train_seconds"]);
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
