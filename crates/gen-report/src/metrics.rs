//! What was measured of a run, in long form: `metrics.csv`, or what an `evaluation.csv` without one tells.

use std::path::Path;

use crate::csv_file::Table;
use crate::direction::Direction;
use crate::measures::{Format, MEASURES};
use crate::runs::Run;

/// The space of what needs no feature space.
pub(crate) const DATA: &str = "data";
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
        self.space.is_empty() && cost_named(&self.metric).is_some()
    }

    /// What is known of the noise of the number, besides its standard error.
    pub(crate) fn noise(&self) -> Noise {
        match cost_named(&self.metric).filter(|_| self.space.is_empty()) {
            Some(cost) => cost.noise,
            None => Noise::Unknown,
        }
    }
}

/// A number that was measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metric {
    pub(crate) key: Key,
    /// Infinite or NaN where that is what came out.
    pub(crate) value: f64,
    /// Finite.
    pub(crate) standard_error: Option<f64>,
    /// The same for training rows in place of samples.
    pub(crate) floor: Option<f64>,
    pub(crate) n_real: Option<u64>,
    pub(crate) n_fake: Option<u64>,
    pub(crate) direction: Direction,
}

/// The rows of a `metrics.csv`.
#[derive(Debug, PartialEq)]
pub(crate) struct Metrics {
    pub(crate) rows: Vec<Metric>,
    /// Whether it has the column `higher_is_better` of earlier versions in place of `direction` and `target`.
    pub(crate) is_of_earlier_version: bool,
}

/// What a run's `metrics.csv` has; `None` where there is no such file. An error is what is wrong with it.
pub(crate) fn read(folder: &Path) -> Result<Option<Metrics>, String> {
    let path = folder.join("metrics.csv");
    if !path.exists() {
        return Ok(None);
    }
    let table = Table::read(&path)?;
    let position = |column: &str| table.position(column).ok_or(format!("it has no column `{column}`"));
    let (metric, space, value) = (position("metric")?, position("space")?, position("value")?);
    let parameter = table.position("parameter");
    let optional = ["standard_error", "floor", "n_real", "n_fake"].map(|column| table.position(column));
    let (direction, target, earlier) =
        (table.position("direction"), table.position("target"), table.position("higher_is_better"));
    if direction.or(earlier).is_none() {
        return Err("it has no column `direction`".to_owned());
    }
    let mut rows = Vec::new();
    for row in &table.rows {
        let cell = |index: Option<usize>| index.map_or("", |index| row[index].as_str());
        let number = |index: Option<usize>| -> Result<Option<f64>, String> {
            let cell = cell(index);
            match cell.parse() {
                _ if cell.is_empty() => Ok(None),
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(format!("`{}` should have numbers, found {cell:?}", row[metric])),
            }
        };
        let finite = |index| Ok::<_, String>(number(index)?.filter(|value: &f64| value.is_finite()));
        let [standard_error, floor, n_real, n_fake] = optional.map(finite);
        let direction = match (direction, cell(earlier)) {
            (Some(_), _) => Direction::read(cell(direction), cell(target))?,
            (None, "true") => Direction::of_earlier_version(&row[metric], true),
            (None, "false") => Direction::of_earlier_version(&row[metric], false),
            (None, other) => {
                return Err(format!("`higher_is_better` should be true or false, found {other:?}"));
            }
        };
        let Some(value) = number(Some(value))? else { continue };
        rows.push(Metric {
            key: Key::new(&row[metric], &row[space], cell(parameter)),
            value,
            standard_error: standard_error?,
            floor: floor?,
            n_real: n_real?.map(|n| n as u64),
            n_fake: n_fake?.map(|n| n as u64),
            direction,
        });
    }
    Ok(Some(Metrics { rows, is_of_earlier_version: direction.is_none() }))
}

/// What the columns of an evaluation tell, for a run without `metrics.csv`.
pub(crate) fn of_evaluation(run: &Run) -> Vec<Metric> {
    let whole = |column: &str| run.number(column).map(|n| n as u64);
    let mut metrics = Vec::new();
    let mut add = |column: &str, key: Key, error: &str, n: (Option<u64>, Option<u64>)| {
        if let Some(value) = run.number(column) {
            let floor = if column == "fd" { run.number("fd_floor") } else { None };
            let measure = MEASURES.iter().find(|measure| measure.column == key.metric);
            metrics.push(Metric {
                key,
                value,
                standard_error: run.number(error).filter(|error| error.is_finite()),
                floor: floor.filter(|floor| floor.is_finite()),
                n_real: n.0,
                n_fake: n.1,
                direction: measure.map_or(Direction::Neither, |measure| measure.direction),
            });
        }
    };
    let space = run.text("feature_space");
    let rows = (whole("n_real"), whole("n_fake"));
    add("fd", Key::new("fd", space, ""), "fd_standard_error", rows);
    add("kid", Key::new("kid", space, ""), "kid_standard_error", rows);
    let k = match run.text("prdc_k") {
        "" => String::new(),
        k => format!("k={k}"),
    };
    let neighbours = (whole("prdc_n"), whole("prdc_n"));
    for metric in ["precision", "recall", "density", "coverage"] {
        add(metric, Key::new(metric, space, &k), "", neighbours);
    }
    add("mmd", Key::new("mmd", space, ""), "", rows);
    for metric in ["modes_covered", "high_quality_share"] {
        add(metric, Key::new(metric, DATA, ""), "", rows);
    }
    let likelihood = (whole("n_likelihood").or(rows.0), None);
    let kind = run.text("likelihood_kind");
    for (metric, error) in [
        ("bits_per_dim", "bits_per_dim_standard_error"),
        ("nll_nats", "nll_standard_error"),
        ("nll_gap_nats", "nll_standard_error"),
        ("kl_nats", "kl_standard_error"),
    ] {
        add(metric, Key::new(metric, DATA, kind), error, likelihood);
    }
    let kind = run.text("importance_kind");
    for (column, metric) in [("importance_bits_per_dim", "bits_per_dim"), ("importance_nll_nats", "nll_nats")]
    {
        add(column, Key::new(metric, DATA, kind), "", likelihood);
    }
    metrics
}

/// What is known of the noise of a number that has no standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noise {
    /// It was counted, and would be the same again.
    None,
    /// It was taken by a clock: a repeated measurement differs by up to a twentieth.
    Clock,
    /// Nothing is.
    Unknown,
}

/// When two costs are of the same circumstances: the columns that have to agree.
const TRAINING: &[&str] = &["device", "threads"];
const SAMPLING: &[&str] = &["sample_device", "sample_processor", "sample_threads", "sample_batch"];
/// One sample at a time, whatever the batch.
const LATENCY: &[&str] = &["sample_device", "sample_processor", "sample_threads"];

/// A column that tells what a run cost, or its samples: compared over seeds like a metric.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) column: &'static str,
    direction: Direction,
    noise: Noise,
    /// What it depends on besides the model: costs under different circumstances are not compared.
    circumstances: &'static [&'static str],
}

const fn cost(
    column: &'static str,
    direction: Direction,
    noise: Noise,
    circumstances: &'static [&'static str],
) -> Cost {
    Cost { column, direction, noise, circumstances }
}

/// All of them.
pub(crate) const COSTS: [Cost; 7] = {
    use Direction::{Higher, Lower};
    [
        cost("sample_images_per_second", Higher, Noise::Clock, SAMPLING),
        cost("sample_latency_ms", Lower, Noise::Clock, LATENCY),
        cost("nfe", Lower, Noise::None, &[]),
        cost("train_seconds", Lower, Noise::Clock, TRAINING),
        cost("train_cpu_seconds", Lower, Noise::Clock, TRAINING),
        cost("parameters", Lower, Noise::None, &[]),
        cost("peak_rss_mib", Lower, Noise::Unknown, TRAINING),
    ]
};

fn cost_named(column: &str) -> Option<Cost> {
    COSTS.into_iter().find(|cost| cost.column == column)
}

/// The costs of a run.
pub(crate) fn costs(run: &Run) -> Vec<Metric> {
    let of_run = |cost: Cost| {
        Some(Metric {
            key: Key::new(cost.column, "", &circumstances(run, cost.circumstances)),
            value: run.number(cost.column)?,
            standard_error: None,
            floor: None,
            n_real: None,
            n_fake: None,
            direction: cost.direction,
        })
    };
    COSTS.into_iter().filter_map(of_run).collect()
}

/// `device=cpu threads=2`; of a run that does not tell, nothing.
fn circumstances(run: &Run, columns: &[&str]) -> String {
    let known =
        columns.iter().map(|column| (*column, run.text(column))).filter(|(_, value)| !value.is_empty());
    let written = known.map(|(column, value)| format!("{}={value}", column.trim_start_matches("sample_")));
    written.collect::<Vec<_>>().join(" ")
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
        "run,metric,space,parameter,value,standard_error,floor,n_real,n_fake,direction,target\n";

    fn parse(rows: &str) -> Result<Option<Metrics>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("metrics.csv"), format!("{HEADER}{rows}")).unwrap();
        read(folder.path())
    }

    #[test]
    fn rows_are_read_by_name_and_what_is_not_finite_is_kept() {
        let metrics = parse(
            "x,fd,random-64,,2.5,0.1,0.2,100,90,lower,\nx,kid,random-64,,NaN,inf,,,,lower,\nx,fd,pca-64,,inf,,,,,lower,\n\
             x,coverage,pca-64,k=5,0.5,,,,,higher,\nx,one_nn_accuracy,pca-64,,0.9,,,,,target,0.5\nx,vendi,pca-64,,9,,,,,,\n",
        );
        let Metrics { rows, is_of_earlier_version } = metrics.unwrap().unwrap();
        assert!(!is_of_earlier_version);
        assert_eq!(rows.len(), 6);
        assert_eq!(rows[0].key, Key::new("fd", "random-64", ""));
        assert_eq!((rows[0].standard_error, rows[0].floor, rows[0].n_fake), (Some(0.1), Some(0.2), Some(90)));
        assert!(rows[1].value.is_nan() && rows[1].standard_error.is_none());
        assert_eq!(rows[2].value, f64::INFINITY);
        assert_eq!((rows[3].key.parameter.as_str(), rows[3].direction), ("k=5", Direction::Higher));
        assert_eq!([rows[4].direction, rows[5].direction], [Direction::Target(0.5), Direction::Neither]);
    }

    #[test]
    fn an_earlier_version_had_two_directions_for_everything() {
        let folder = tempfile::tempdir().unwrap();
        let rows = "metric,space,value,higher_is_better\nfd,x,1,false\nrecall,x,1,true\nauth_pct,x,50,true\nvendi,x,9,true\n\
                    one_nn_accuracy,x,0.9,false\n";
        std::fs::write(folder.path().join("metrics.csv"), rows).unwrap();
        let Metrics { rows, is_of_earlier_version } = read(folder.path()).unwrap().unwrap();
        assert!(is_of_earlier_version);
        let directions: Vec<Direction> = rows.iter().map(|metric| metric.direction).collect();
        assert_eq!(
            directions,
            [
                Direction::Lower,
                Direction::Higher,
                Direction::Neither,
                Direction::Neither,
                Direction::Target(0.5)
            ]
        );
    }

    #[test]
    fn foreign_and_torn_files_say_what_is_wrong() {
        assert!(
            parse("x,fd,random-64,,many,,,,,lower,\n")
                .unwrap_err()
                .contains("`fd` should have numbers, found \"many\"")
        );
        assert!(
            parse("x,fd,random-64,,1,,,,,down,\n").unwrap_err().contains("higher, lower, target or empty")
        );
        assert!(parse("x,fd,random-64,,1,,,,").unwrap_err().contains("cut off"));
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        let error = |text: &str| {
            std::fs::write(folder.path().join("metrics.csv"), text).unwrap();
            read(folder.path()).unwrap_err()
        };
        assert_eq!(error("metric,space\nfd,x\n"), "it has no column `value`");
        assert_eq!(error("metric,space,value\nfd,x,1\n"), "it has no column `direction`");
        assert!(error("metric,space,value,higher_is_better\nfd,x,1,yes\n").contains("true or false"));
    }

    #[test]
    fn costs_tell_under_which_circumstances_they_were_taken() {
        let folder = tempfile::tempdir().unwrap();
        let text = "model,family,device,threads,sample_images_per_second,sample_latency_ms,sample_device,sample_threads,\
                    sample_batch,train_seconds,parameters\nvae,vae,cuda,4,100,3,cpu,2,500,9,7\n";
        let run = Run::read(&run_folder(folder.path(), "vae-d-s0", Some(text)));
        let found: Vec<(String, String)> =
            costs(&run).into_iter().map(|cost| (cost.key.metric, cost.key.parameter)).collect();
        let expected = [
            ("sample_images_per_second", "device=cpu threads=2 batch=500"),
            ("sample_latency_ms", "device=cpu threads=2"),
            ("train_seconds", "device=cuda threads=4"),
            ("parameters", ""),
        ];
        assert_eq!(found, expected.map(|(metric, parameter)| (metric.to_owned(), parameter.to_owned())));
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
