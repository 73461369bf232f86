//! Runs of one model that differ in their seeds, taken together.

use std::collections::BTreeMap;

use crate::direction::Direction;
use crate::measures::Noise;
use crate::metric::{Key, Metric};
use crate::runs::Run;

/// The runs of one model, or of one reference.
#[derive(Debug)]
pub(crate) struct Model<'a> {
    /// Its name, told apart from all others.
    pub(crate) label: String,
    pub(crate) runs: Vec<&'a Run>,
}

/// A number over the seeds of a model. Where one of them is infinite or NaN, so is the mean.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seeds {
    pub(crate) mean: f64,
    /// The lowest and the highest; NaN where every seed is NaN.
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Seeds that have a value, infinite or NaN ones too.
    pub(crate) n: usize,
    pub(crate) error: Option<MeanError>,
    pub(crate) floor: Option<f64>,
    pub(crate) direction: Direction,
    /// The mean of what [`Direction::loss`] makes of each seed: what models are ranked by.
    pub(crate) loss: Option<f64>,
}

impl Seeds {
    /// Whether every seed has a number.
    pub(crate) fn is_finite(&self) -> bool {
        self.mean.is_finite()
    }
}

/// How far a mean over seeds is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MeanError {
    pub(crate) standard_error: f64,
    /// Degrees of freedom of the variance; infinite where it is known and not estimated from seeds.
    pub(crate) freedom: f64,
}

impl<'a> Model<'a> {
    /// All models, in the order of their first runs.
    pub(crate) fn all(runs: &'a [Run]) -> Vec<Self> {
        let mut groups: Vec<Vec<&'a Run>> = Vec::new();
        for run in runs {
            match groups.iter_mut().find(|group| group.iter().all(|other| other.is_another_seed_of(run))) {
                Some(group) => group.push(run),
                None => groups.push(vec![run]),
            }
        }
        let firsts: Vec<&Run> = groups.iter().map(|group| group[0]).collect();
        groups.iter().map(|group| Model { label: label(group[0], &firsts), runs: group.clone() }).collect()
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

    /// The value in a column of the first run that has one.
    pub(crate) fn text(&self, column: &str) -> &'a str {
        self.runs.iter().map(|run| run.text(column)).find(|text| !text.is_empty()).unwrap_or_default()
    }

    /// Runs without an evaluation.
    pub(crate) fn n_failed(&self) -> usize {
        self.runs.iter().filter(|run| !run.is_done()).count()
    }

    /// The name of one of its runs: the label, with the seed where there are several.
    pub(crate) fn label_of(&self, run: &Run) -> String {
        if self.runs.len() > 1 && !run.text("seed").is_empty() && !run.is_reference() {
            format!("{} (seed {})", self.label, run.text("seed"))
        } else {
            self.label.clone()
        }
    }

    /// A number over the seeds; `None` where no run has it.
    pub(crate) fn seeds(&self, key: &Key) -> Option<Seeds> {
        let measured = |run: &&'a Run| {
            let metrics = if key.is_cost() { &run.costs } else { &run.metrics };
            metrics.iter().find(|metric| metric.key == *key)
        };
        let found: Vec<&Metric> = self.runs.iter().filter_map(measured).collect();
        let direction = found.first()?.direction;
        let values: Vec<f64> = found.iter().map(|metric| metric.value).collect();
        let floors: Vec<f64> = found.iter().filter_map(|metric| metric.floor).collect();
        let errors: Vec<f64> = found.iter().filter_map(|metric| metric.standard_error).collect();
        let losses: Option<Vec<f64>> = values.iter().map(|value| direction.loss(*value)).collect();
        Some(Seeds {
            mean: mean(&values),
            min: values.iter().copied().fold(f64::NAN, f64::min),
            max: values.iter().copied().fold(f64::NAN, f64::max),
            n: values.len(),
            error: mean_error(losses.as_ref().unwrap_or(&values), &errors, key.noise()),
            floor: (!floors.is_empty()).then(|| mean(&floors)),
            direction,
            loss: losses.map(|losses| mean(&losses)),
        })
    }
}

/// The standard error of the mean over seeds; `None` where nothing is known of it, or a value is not finite.
///
/// The spread over seeds already includes the sampling error of each evaluation. The larger of the two counts, so that
/// seeds that agree by chance do not make a number look more certain than a single evaluation allows.
fn mean_error(values: &[f64], errors: &[f64], noise: Noise) -> Option<MeanError> {
    let n = values.len() as f64;
    let center = mean(values);
    if !center.is_finite() {
        return None;
    }
    let within = mean(&errors.iter().map(|error| error * error).collect::<Vec<_>>());
    let known = if errors.is_empty() { None } else { Some(within) };
    let known = known.or((noise != Noise::Unknown).then_some(0.0));
    if values.len() < 2 {
        return known.map(|variance| MeanError { standard_error: variance.sqrt(), freedom: f64::INFINITY });
    }
    let spread = values.iter().map(|value| (value - center).powi(2)).sum::<f64>() / (n - 1.0);
    let variance = spread.max(known.unwrap_or(0.0));
    Some(MeanError { standard_error: (variance / n).sqrt(), freedom: n - 1.0 })
}

/// The models of each data set; models of different data sets cannot be compared. Runs without a data set, such as a
/// reference that failed, are in the first group.
pub(crate) fn by_dataset(runs: &[Run]) -> Vec<Vec<Model<'_>>> {
    let (known, unknown): (Vec<_>, Vec<_>) =
        Model::all(runs).into_iter().partition(|model| !model.dataset().is_empty());
    // Several data sets may share a name: models with a hash come first.
    let (hashed, named): (Vec<_>, Vec<_>) =
        known.into_iter().partition(|model| !model.runs[0].text("dataset_sha256").is_empty());
    let mut groups: Vec<Vec<Model<'_>>> = Vec::new();
    for model in hashed.into_iter().chain(named) {
        match groups.iter_mut().find(|group| group[0].runs[0].is_of_same_data(model.runs[0])) {
            Some(group) => group.push(model),
            None => groups.push(vec![model]),
        }
    }
    match groups.first_mut() {
        Some(group) => group.extend(unknown),
        None if unknown.is_empty() => {}
        None => groups.push(unknown),
    }
    groups
}

/// The keys of all runs in the order of their first appearance, costs last.
pub(crate) fn keys(runs: &[Run]) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    let measured = runs.iter().flat_map(|run| &run.metrics);
    for metric in measured.chain(runs.iter().flat_map(|run| &run.costs)) {
        if !keys.contains(&metric.key) {
            keys.push(metric.key.clone());
        }
    }
    keys
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The name of a run's model among the first runs of all models: the shortest that no other has.
fn label(run: &Run, firsts: &[&Run]) -> String {
    if run.model().is_empty() {
        return run.name().to_owned();
    }
    let others: Vec<&&Run> =
        firsts.iter().filter(|other| other.model() == run.model() && !std::ptr::eq(**other, run)).collect();
    let above = |run: &Run| run.below_its_parent(run.stem());
    let names: [&dyn Fn(&Run) -> String; 3] = [&|run| run.model().to_owned(), &|run| run.stem().to_owned(), &above];
    if let Some(unique) = names.iter().find(|name| others.iter().all(|other| name(other) != name(run))) {
        return unique(run);
    }
    // Folders that are named as seeds of one model, and are none: what differs tells them apart.
    let alike = others.iter().filter(|other| above(other) == above(run));
    let differences: Vec<Vec<_>> = alike.map(|other| run.differences(other)).collect();
    let told: BTreeMap<String, String> =
        differences.iter().flatten().map(|(name, own, _)| (name.clone(), own.clone())).collect();
    if differences.iter().any(Vec::is_empty) || told.len() > 2 {
        // The names of runs are told apart when they are read.
        return run.name().to_owned();
    }
    let told: Vec<String> = told.iter().map(|(name, own)| format!("{name} {own}")).collect();
    format!("{} ({})", run.stem(), told.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::read_folders;
    use crate::testing::run_folder;

    fn labels(folders: &[std::path::PathBuf]) -> Vec<(String, usize)> {
        let runs = read_folders(folders);
        Model::all(&runs).into_iter().map(|model| (model.label, model.runs.len())).collect()
    }

    #[test]
    fn without_a_configuration_the_names_of_the_folders_tell_seeds() {
        let folder = tempfile::tempdir().unwrap();
        let rows = [
            ("a/vae-d-s0", 3.0),
            ("a/vae-d-s1", 1.0),
            ("a/vae-d-s2", 2.6),
            ("a/vae-beta-s0", 9.0),
            ("b/vae-d-s0", 7.0),
        ];
        let folders: Vec<_> = rows
            .iter()
            .map(|(name, fd)| {
                let text = format!(
                    "model,family,dataset,feature_space,fd,fd_floor,train_seconds\nvae,vae,d,pca-2,{fd},0.5,10\n"
                );
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
        assert!((seeds.mean - 2.2).abs() < 1e-12);
        assert_eq!((seeds.min, seeds.max, seeds.n, seeds.floor), (1.0, 3.0, 3, Some(0.5)));
        assert!(model.seeds(&Key::new("fd", "random-64", "")).is_none());
        assert_eq!(model.seeds(&Key::new("train_seconds", "", "")).unwrap().mean, 10.0);
        let metrics: Vec<String> = keys(&runs).into_iter().map(|key| key.metric).collect();
        assert_eq!(metrics, ["fd", "train_seconds"]);
    }

    /// A run with a row of these columns beside the usual ones.
    fn run(folder: &std::path::Path, name: &str, seed: u64, columns: &str, cells: &str) -> std::path::PathBuf {
        let text = format!("model,family,dataset,seed,{columns}\nvae,vae,d,{seed},{cells}\n");
        run_folder(folder, name, Some(&text))
    }

    #[test]
    fn runs_of_one_configuration_are_one_model_whatever_their_folders_are_called() {
        let folder = tempfile::tempdir().unwrap();
        let columns = "config_sha256,budget,device,train_precision";
        let at = |name: &str, seed, cells: &str| run(folder.path(), name, seed, columns, cells);
        let same = [at("first", 0, "aa,60s,cpu,f32"), at("x/second-try", 1, "aa,60s,cpu,f32")];
        assert_eq!(labels(&same), [("vae".to_owned(), 2)]);
        // The same seed again is no second seed.
        let again = at("again", 1, "aa,60s,cpu,f32");
        assert_eq!(labels(&[&same[..], &[again]].concat()).len(), 2);
    }

    #[test]
    fn runs_whose_folders_are_named_alike_are_not_averaged_where_anything_else_differs() {
        let folder = tempfile::tempdir().unwrap();
        let columns = "config_sha256,budget,device,train_precision,dataset_sha256,weights,sampler,nfe,n_fake";
        let usual = "aa,60s,cpu,f32,dd,ema,ddim,25,1000";
        let different = [
            "bb,60s,cpu,f32,dd,ema,ddim,25,1000",
            "aa,90s,cpu,f32,dd,ema,ddim,25,1000",
            "aa,60s,cuda,f32,dd,ema,ddim,25,1000",
            "aa,60s,cpu,bf16,dd,ema,ddim,25,1000",
            "aa,60s,cpu,f32,ee,ema,ddim,25,1000",
            "aa,60s,cpu,f32,dd,ema-best,ddim,25,1000",
            "aa,60s,cpu,f32,dd,ema,ancestral,25,1000",
            "aa,60s,cpu,f32,dd,ema,ddim,50,1000",
            "aa,60s,cpu,f32,dd,ema,ddim,25,500",
        ];
        let first = run(folder.path(), "vae-d-s0", 0, columns, usual);
        for other in different {
            let second = run(folder.path(), "vae-d-s1", 1, columns, other);
            let found = labels(&[first.clone(), second]);
            assert_eq!(found.len(), 2, "{other}: {found:?}");
            assert_ne!(found[0].0, found[1].0, "{other}");
        }
        let second = run(folder.path(), "vae-d-s1", 1, columns, usual);
        assert_eq!(labels(&[first, second]), [("vae".to_owned(), 2)]);
    }

    /// Runs of before there was a hash have their settings in `config.toml`, and so do runs that failed.
    #[test]
    fn a_configuration_file_tells_what_an_evaluation_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let config = |name: &str, seed: u64, latent: u64, evaluated: bool| {
            let text = "family,model,dataset,fd\nvae,vae,d,3\n";
            let path = run_folder(folder.path(), name, evaluated.then_some(text));
            let config = format!(
                "[run]\nmodel = \"vae\"\nfamily = \"vae\"\ndataset = \"d\"\nbudget = \"60s\"\nseed = {seed}\n\
                 threads = {seed}\n\
                 [model]\nlatent = {latent}\n[training]\nbatch_size = 8\n[data]\nname = \"d\"\nmean = [{seed}.5]\n\
                 [data.options]\npad = 0\n"
            );
            std::fs::write(path.join("config.toml"), config).unwrap();
            path
        };
        let (one, failed) = (config("vae-d-s0", 0, 8, true), config("elsewhere", 1, 8, false));
        assert_eq!(labels(&[one.clone(), failed]), [("vae".to_owned(), 2)]);
        let wide = config("vae-d-s1", 1, 16, true);
        assert_eq!(
            labels(&[one.clone(), wide.clone()]),
            [("vae-d (latent 8)".to_owned(), 1), ("vae-d (latent 16)".to_owned(), 1)]
        );
        let runs = read_folders(&[one, wide]);
        let expected = ("latent".to_owned(), "8".to_owned(), "16".to_owned());
        assert_eq!(runs[0].differences(&runs[1]), [expected]);
    }

    #[test]
    fn one_seed_that_is_not_finite_makes_the_mean_so() {
        let folder = tempfile::tempdir().unwrap();
        let of = |values: [&str; 3]| {
            let folders: Vec<_> = (0u64..)
                .zip(values)
                .map(|(seed, fd)| {
                    run(folder.path(), &format!("vae-d-s{seed}"), seed, "feature_space,fd", &format!("s,{fd}"))
                })
                .collect();
            let runs = read_folders(&folders);
            Model::all(&runs)[0].seeds(&Key::new("fd", "s", "")).unwrap()
        };
        let infinite = of(["1", "2", "inf"]);
        assert_eq!((infinite.mean, infinite.min, infinite.max), (f64::INFINITY, 1.0, f64::INFINITY));
        assert_eq!((infinite.n, infinite.error), (3, None));
        let nan = of(["1", "NaN", "3"]);
        assert!(nan.mean.is_nan() && nan.loss.is_some_and(f64::is_nan));
        assert_eq!((nan.min, nan.max, nan.n, nan.error), (1.0, 3.0, 3, None));
        assert!(of(["NaN", "NaN", "NaN"]).min.is_nan());
    }

    #[test]
    fn the_error_of_a_mean_is_the_larger_of_spread_and_sampling_error() {
        let error = |values: &[f64], errors: &[f64], noise| {
            mean_error(values, errors, noise).map(|error| (error.standard_error, error.freedom))
        };
        assert_eq!(error(&[1.0], &[], Noise::Unknown), None);
        assert_eq!(error(&[1.0], &[], Noise::Counted), Some((0.0, f64::INFINITY)));
        assert_eq!(error(&[1.0], &[0.5], Noise::Unknown), Some((0.5, f64::INFINITY)));
        // The standard deviation of 1, 2, 3 is 1.
        let spread = Some(((1f64 / 3.0).sqrt(), 2.0));
        assert_eq!(error(&[1.0, 2.0, 3.0], &[], Noise::Unknown), spread);
        assert_eq!(error(&[1.0, 2.0, 3.0], &[0.5; 3], Noise::Unknown), spread);
        assert_eq!(error(&[1.0, 2.0, 3.0], &[4.0; 3], Noise::Unknown), Some(((16f64 / 3.0).sqrt(), 2.0)));
        assert_eq!(error(&[1.0, f64::INFINITY], &[0.1, 0.1], Noise::Unknown), None);
    }
}
