//! What was measured of a run, in long form: `metrics.csv`, or what an `evaluation.csv` without one tells.

use std::path::Path;

use crate::csv_file::Table;
use crate::measures::{Format, MEASURES};
use crate::runs::Run;

/// The space of what needs no feature space.
pub(crate) const DATA: &str = "data";
/// Two times that differ by less than this part cannot be told apart: a repeated measurement differs as much.
pub(crate) const TIMING_NOISE: f64 = 0.05;

/// What tells one number from another: a column of a table of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) metric: String,
    pub(crate) space: String,
    pub(crate) parameter: String,
}

impl Key {
    pub(crate) fn new(metric: &str, space: &str, parameter: &str) -> Self {
        Key { metric: metric.to_owned(), space: space.to_owned(), parameter: parameter.to_owned() }
    }

    /// Whether the number is a cost and no measure of the distribution.
    pub(crate) fn is_cost(&self) -> bool {
        self.space.is_empty() && COSTS.iter().any(|(column, _)| *column == self.metric)
    }

    /// Whether it came from a clock.
    pub(crate) fn is_timing(&self) -> bool {
        self.is_cost() && ["seconds", "second", "ms"].iter().any(|unit| self.metric.ends_with(unit))
    }
}

/// A number that was measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metric {
    pub(crate) key: Key,
    pub(crate) value: f64,
    pub(crate) standard_error: Option<f64>,
    /// The same for training rows in place of samples.
    pub(crate) floor: Option<f64>,
    pub(crate) n_real: Option<u64>,
    pub(crate) n_fake: Option<u64>,
    pub(crate) higher_is_better: bool,
}

/// The rows of a run's `metrics.csv`; `None` where there is no such file. An error is what is wrong with it.
pub(crate) fn read(folder: &Path) -> Result<Option<Vec<Metric>>, String> {
    let path = folder.join("metrics.csv");
    if !path.exists() {
        return Ok(None);
    }
    let table = Table::read(&path)?;
    let position = |column: &str| table.position(column).ok_or(format!("it has no column `{column}`"));
    let (metric, space, value) = (position("metric")?, position("space")?, position("value")?);
    let parameter = table.position("parameter");
    // Earlier versions knew two directions.
    let better = table.position("direction").ok_or(()).or_else(|()| position("higher_is_better"))?;
    let optional = ["standard_error", "floor", "n_real", "n_fake"].map(|column| table.position(column));
    let mut metrics = Vec::new();
    for row in &table.rows {
        let number = |index: Option<usize>| -> Result<Option<f64>, String> {
            let cell = index.map_or("", |index| row[index].as_str());
            let parsed: Result<f64, _> = cell.parse();
            match parsed {
                _ if cell.is_empty() => Ok(None),
                Ok(value) => Ok(Some(value).filter(|value| value.is_finite())),
                Err(_) => Err(format!("`{}` should have numbers, found {cell:?}", row[metric])),
            }
        };
        let [standard_error, floor, n_real, n_fake] = optional.map(number);
        let higher_is_better = match row[better].as_str() {
            "true" | "higher" => true,
            "false" | "lower" | "target" | "" => false,
            other => return Err(format!("`higher_is_better` should be true or false, found {other:?}")),
        };
        let Some(value) = number(Some(value))? else { continue };
        let parameter = parameter.map_or("", |index| row[index].as_str());
        metrics.push(Metric {
            key: Key::new(&row[metric], &row[space], parameter),
            value,
            standard_error: standard_error?,
            floor: floor?,
            n_real: n_real?.map(|n| n as u64),
            n_fake: n_fake?.map(|n| n as u64),
            higher_is_better,
        });
    }
    Ok(Some(metrics))
}

/// What the columns of an evaluation tell, for a run without `metrics.csv`.
pub(crate) fn of_evaluation(run: &Run) -> Vec<Metric> {
    let whole = |column: &str| run.number(column).map(|n| n as u64);
    let mut metrics = Vec::new();
    let mut add = |column: &str, key: Key, error: &str, n: (Option<u64>, Option<u64>), better: bool| {
        if let Some(value) = run.number(column) {
            let floor = if column == "fd" { run.number("fd_floor") } else { None };
            metrics.push(Metric {
                key,
                value,
                standard_error: run.number(error),
                floor,
                n_real: n.0,
                n_fake: n.1,
                higher_is_better: better,
            });
        }
    };
    let space = run.text("feature_space");
    let rows = (whole("n_real"), whole("n_fake"));
    add("fd", Key::new("fd", space, ""), "", rows, false);
    add("kid", Key::new("kid", space, ""), "kid_standard_error", rows, false);
    let k = match run.text("prdc_k") {
        "" => String::new(),
        k => format!("k={k}"),
    };
    let neighbours = (whole("prdc_n"), whole("prdc_n"));
    for metric in ["precision", "recall", "density", "coverage"] {
        add(metric, Key::new(metric, space, &k), "", neighbours, true);
    }
    add("mmd", Key::new("mmd", space, ""), "", rows, false);
    for metric in ["modes_covered", "high_quality_share"] {
        add(metric, Key::new(metric, DATA, ""), "", rows, true);
    }
    let likelihood = (whole("n_likelihood").or(rows.0), None);
    let kind = run.text("likelihood_kind");
    for (metric, error) in [
        ("bits_per_dim", "bits_per_dim_standard_error"),
        ("nll_nats", "nll_standard_error"),
        ("nll_gap_nats", "nll_standard_error"),
        ("kl_nats", "kl_standard_error"),
    ] {
        add(metric, Key::new(metric, DATA, kind), error, likelihood, false);
    }
    let kind = run.text("importance_kind");
    for (column, metric) in [("importance_bits_per_dim", "bits_per_dim"), ("importance_nll_nats", "nll_nats")]
    {
        add(column, Key::new(metric, DATA, kind), "", likelihood, false);
    }
    metrics
}

/// Whether a metric has a better side: a share of a class should be that of the data, and an accuracy 0.5.
pub(crate) fn has_direction(metric: &str) -> bool {
    !matches!(
        metric,
        "class_share"
            | "one_nn_accuracy"
            | "density"
            | "auth_pct"
            | "copied_share"
            | "nearest_train_z"
            | "vendi"
            | "path_length"
            | "effective_sample_size"
            | "classifier_entropy_marginal"
            | "classifier_entropy_conditional"
    )
}

/// What a run cost, and what its samples cost: columns that are compared over seeds like metrics.
pub(crate) const COSTS: [(&str, bool); 7] = [
    ("sample_images_per_second", true),
    ("sample_latency_ms", false),
    ("nfe", false),
    ("train_seconds", false),
    ("train_cpu_seconds", false),
    ("parameters", false),
    ("peak_rss_mib", false),
];

/// The costs of a run.
pub(crate) fn costs(run: &Run) -> Vec<Metric> {
    let cost = |(column, higher_is_better)| {
        Some(Metric {
            key: Key::new(column, "", ""),
            value: run.number(column)?,
            standard_error: None,
            floor: None,
            n_real: None,
            n_fake: None,
            higher_is_better,
        })
    };
    COSTS.into_iter().filter_map(cost).collect()
}

/// How values of a metric are written.
pub(crate) fn format(metric: &str) -> Format {
    match metric {
        "kid" | "kid_subsets" => Format::Fixed(4),
        "copied_share"
        | "one_nn_accuracy"
        | "classifier_entropy_marginal"
        | "classifier_entropy_conditional"
        | "class_kl"
        | "class_tv"
        | "class_share" => Format::Fixed(3),
        "auth_pct" => Format::Fixed(1),
        "nearest_train_z" => Format::Fixed(2),
        _ => MEASURES.iter().find(|m| m.column == metric).map_or(Format::Significant, |m| m.format),
    }
}

/// The name of a metric for people, and what it says.
pub(crate) fn about(metric: &str) -> (&str, &str) {
    let measure = MEASURES.iter().find(|measure| measure.column == metric);
    match metric {
        "fd_infinity" => ("FD∞", "Fréchet distance extrapolated to infinitely many samples"),
        "kid_subsets" => ("KID of subsets", "kernel distance by the mean over random subsets"),
        "classifier_score" => ("classifier score", "inception score with the classifier of the data set"),
        "classifier_entropy_marginal" => {
            ("class entropy", "entropy of the classes of all samples: diversity")
        }
        "classifier_entropy_conditional" => {
            ("class doubt", "mean entropy of the classifier's answer for one sample: low is confident")
        }
        "class_kl" => ("class KL", "divergence of the histogram of classes from that of the test data"),
        "class_tv" => ("class TV", "half the summed difference of the histograms of classes"),
        "class_share" => ("share of a class", "part of the samples that the classifier puts into a class"),
        "vendi" => ("Vendi", "effective number of distinct samples"),
        "sliced_w2" => ("sliced W2", "Wasserstein distance, mean over random projections"),
        "wasserstein2" => ("W2", "exact Wasserstein distance of a subset"),
        "energy_distance" => ("energy distance", "distance of two sets by the distances between their rows"),
        "fls" => ("FLS", "feature likelihood score: fit, diversity and novelty in one"),
        "auth_pct" => (
            "authentic %",
            "samples that are farther from their nearest training row than that one from its own nearest",
        ),
        "copied_share" => ("copied", "share of samples that all but repeat a training row"),
        "nearest_train_z" => (
            "C_T",
            "whether samples lie nearer to the training data than test data does; far below 0 is copying",
        ),
        "one_nn_accuracy" => {
            ("1-NN accuracy", "how often the nearest neighbour tells sample from data; 0.5 is ideal")
        }
        "path_length" => ("path length", "how far features move for a small step in the latent space"),
        "class_fd" => ("FD of a class", "Fréchet distance among the samples and rows of one class"),
        "effective_sample_size" => ("effective samples", "of the importance-weighted bound"),
        _ => measure.map_or((metric, ""), |measure| (measure.head, measure.meaning)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::tests::run_folder;

    const HEADER: &str =
        "run,metric,space,parameter,value,standard_error,floor,n_real,n_fake,higher_is_better\n";

    fn parse(rows: &str) -> Result<Option<Vec<Metric>>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("metrics.csv"), format!("{HEADER}{rows}")).unwrap();
        read(folder.path())
    }

    #[test]
    fn rows_are_read_by_name_and_numbers_that_are_none_are_left_out() {
        let metrics = parse(
            "x,fd,random-64,,2.5,0.1,0.2,100,90,false\nx,kid,random-64,,NaN,,,,,false\nx,coverage,pca-64,k=5,0.5,,,,,true\n",
        );
        let metrics = metrics.unwrap().unwrap();
        assert_eq!(metrics.len(), 2);
        assert_eq!(metrics[0].key, Key::new("fd", "random-64", ""));
        assert_eq!(
            (metrics[0].standard_error, metrics[0].floor, metrics[0].n_fake),
            (Some(0.1), Some(0.2), Some(90))
        );
        assert_eq!((metrics[1].key.parameter.as_str(), metrics[1].higher_is_better), ("k=5", true));
    }

    #[test]
    fn foreign_and_torn_files_say_what_is_wrong() {
        assert!(
            parse("x,fd,random-64,,many,,,,,false\n")
                .unwrap_err()
                .contains("`fd` should have numbers, found \"many\"")
        );
        assert!(parse("x,fd,random-64,,1,,,,,yes\n").unwrap_err().contains("true or false"));
        assert!(parse("x,fd,random-64,,1,,,,").unwrap_err().contains("cut off"));
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        std::fs::write(folder.path().join("metrics.csv"), "metric,space\nfd,x\n").unwrap();
        assert_eq!(read(folder.path()).unwrap_err(), "it has no column `value`");
    }

    #[test]
    fn an_old_evaluation_tells_its_metrics() {
        let folder = tempfile::tempdir().unwrap();
        let text = "model,family,feature_space,fd,fd_floor,coverage,prdc_k,prdc_n,likelihood_kind,bits_per_dim,importance_kind,importance_bits_per_dim\n\
                    vae,vae,pca-9,3,0.5,0.75,5,100,lower-bound,4,importance-64,3.5\n";
        let run = Run::read(&run_folder(folder.path(), "vae-d-s0", Some(text)));
        let keys: Vec<(Key, f64)> = run.metrics.iter().map(|m| (m.key.clone(), m.value)).collect();
        assert_eq!(
            keys,
            [
                (Key::new("fd", "pca-9", ""), 3.0),
                (Key::new("coverage", "pca-9", "k=5"), 0.75),
                (Key::new("bits_per_dim", DATA, "lower-bound"), 4.0),
                (Key::new("bits_per_dim", DATA, "importance-64"), 3.5),
            ]
        );
        assert_eq!((run.metrics[0].floor, run.metrics[1].n_real), (Some(0.5), Some(100)));
    }
}
