//! The columns of `evaluation.csv`: facts of the run, and the main numbers of `metrics.csv`.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::measures::distances::MMD_OF_POINTS;
use crate::measurement::Measurement;
use crate::metrics::FALSE_ALARMS;

/// The share of copies above which samples are called memorised, if it is also three standard errors above that of test
/// rows.
const MEMORISED: f64 = 0.05;

/// The facts of a row of `evaluation.csv`.
///
/// `columns.csv` of `gen-report` describes each. `None` (an empty cell) means that the fact does not apply.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "a second description of each column would drift from columns.csv")]
pub struct Evaluation {
    pub run: String,
    pub family: String,
    pub model: String,
    pub dataset: String,
    pub dataset_sha256: Option<String>,
    pub seed: Option<u64>,
    pub weights: String,
    pub config_sha256: Option<String>,
    pub budget: Option<String>,
    pub steps: Option<u64>,
    pub images_seen: Option<u64>,
    pub train_seconds: Option<f64>,
    pub train_cpu_seconds: Option<f64>,
    pub train_images_per_second: Option<f64>,
    pub batch_size: Option<usize>,
    pub parameters: Option<usize>,
    pub sampling_parameters: Option<usize>,
    pub peak_rss_mib: Option<f64>,
    pub device: String,
    pub threads: Option<i32>,
    pub train_precision: Option<String>,
    pub sampler: Option<String>,
    pub sampling: Option<String>,
    pub nfe: Option<usize>,
    pub n_real: Option<usize>,
    pub n_fake: Option<usize>,
    pub feature_space: String,
    pub feature_sha256: Option<String>,
    pub second_space: Option<String>,
    pub sample_images_per_second: Option<f64>,
    pub sample_latency_ms: Option<f64>,
    pub sample_device: Option<String>,
    pub sample_processor: Option<String>,
    pub sample_threads: Option<i32>,
    pub sample_batch: Option<usize>,
    pub evaluate_seconds: Option<f64>,
    pub tool_version: String,
    pub libtorch_version: String,
}

/// All results about a set of samples. It serialises as its row of `evaluation.csv`, by [`COLUMNS`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measured {
    /// Facts of the run and of the comparison. [`Protocol`](crate::Protocol) fills in those of the comparison.
    pub row: Evaluation,
    /// The rows of `metrics.csv`.
    pub metrics: Vec<Measurement>,
}

/// A column of `evaluation.csv`.
pub struct Column {
    /// The name in the first row of the file.
    pub name: &'static str,
    value: Value,
}

/// The value of a column, by its type.
enum Value {
    Text(fn(&Measured) -> Option<&str>),
    Int(fn(&Measured) -> Option<u64>),
    Float(fn(&Measured) -> Option<f64>),
    Bool(fn(&Measured) -> Option<bool>),
    /// Of the number of this name in one of the feature spaces.
    Number(Place, &'static str, Part),
}

/// One of the two feature spaces that have columns.
#[derive(Clone, Copy)]
enum Place {
    First,
    Second,
}

/// A part of a [`Measurement`].
#[derive(Clone, Copy)]
enum Part {
    Value,
    Error,
    Floor,
}

/// The columns of `evaluation.csv`, in order.
pub static COLUMNS: [Column; 79] = [
    text("run", |all| Some(&all.row.run)),
    text("family", |all| Some(&all.row.family)),
    text("model", |all| Some(&all.row.model)),
    text("dataset", |all| Some(&all.row.dataset)),
    text("dataset_sha256", |all| all.row.dataset_sha256.as_deref()),
    int("seed", |all| all.row.seed),
    text("weights", |all| Some(&all.row.weights)),
    text("config_sha256", |all| all.row.config_sha256.as_deref()),
    text("budget", |all| all.row.budget.as_deref()),
    int("steps", |all| all.row.steps),
    int("images_seen", |all| all.row.images_seen),
    float("train_seconds", |all| all.row.train_seconds),
    float("train_cpu_seconds", |all| all.row.train_cpu_seconds),
    float("train_images_per_second", |all| all.row.train_images_per_second),
    int("batch_size", |all| count(all.row.batch_size)),
    int("parameters", |all| count(all.row.parameters)),
    int("sampling_parameters", |all| count(all.row.sampling_parameters)),
    float("peak_rss_mib", |all| all.row.peak_rss_mib),
    text("device", |all| Some(&all.row.device)),
    int("threads", |all| count(all.row.threads)),
    text("train_precision", |all| all.row.train_precision.as_deref()),
    text("sampler", |all| all.row.sampler.as_deref()),
    text("sampling", |all| all.row.sampling.as_deref()),
    int("nfe", |all| count(all.row.nfe)),
    int("n_real", |all| count(all.row.n_real)),
    int("n_fake", |all| count(all.row.n_fake)),
    text("feature_space", |all| Some(&all.row.feature_space)),
    text("feature_sha256", |all| all.row.feature_sha256.as_deref()),
    first("fd"),
    number("fd_standard_error", Place::First, "fd", Part::Error),
    number("fd_floor", Place::First, "fd", Part::Floor),
    first("fd_infinity"),
    first("kid"),
    number("kid_standard_error", Place::First, "kid", Part::Error),
    first("precision"),
    first("recall"),
    first("density"),
    first("coverage"),
    int("prdc_n", |all| Some(all.main("precision")?.n_fake as u64)),
    int("prdc_k", |all| after("k=", all.main("precision")?)),
    first("vendi"),
    first("classifier_score"),
    first("class_tv"),
    first("one_nn_accuracy"),
    first("auth_pct"),
    first("copied_share"),
    Column { name: "memorised", value: Value::Bool(Measured::memorised) },
    text("second_space", |all| all.row.second_space.as_deref()),
    second("second_fd", "fd"),
    number("second_fd_standard_error", Place::Second, "fd", Part::Error),
    number("second_fd_floor", Place::Second, "fd", Part::Floor),
    second("second_precision", "precision"),
    second("second_recall", "recall"),
    second("second_coverage", "coverage"),
    float("mmd", |all| Some(all.main("mmd").filter(|mmd| mmd.parameter == MMD_OF_POINTS)?.value)),
    int("modes_covered", |all| Some(all.modes()?.value as u64)),
    int("modes_total", |all| after("of ", all.modes()?)),
    first("high_quality_share"),
    text("likelihood_kind", |all| all.likelihood(false)),
    float("bits_per_dim", |all| Some(all.of_likelihood("bits_per_dim", false)?.value)),
    float("bits_per_dim_standard_error", |all| all.of_likelihood("bits_per_dim", false)?.standard_error),
    float("nll_nats", |all| Some(all.of_likelihood("nll_nats", false)?.value)),
    float("nll_standard_error", |all| all.of_likelihood("nll_nats", false)?.standard_error),
    float("nll_gap_nats", |all| Some(all.of_likelihood("nll_gap_nats", false)?.value)),
    float("kl_nats", |all| Some(all.of_likelihood("kl_nats", false)?.value)),
    float("kl_standard_error", |all| all.of_likelihood("kl_nats", false)?.standard_error),
    text("importance_kind", |all| all.likelihood(true)),
    float("importance_bits_per_dim", |all| Some(all.of_likelihood("bits_per_dim", true)?.value)),
    float("importance_nll_nats", |all| Some(all.of_likelihood("nll_nats", true)?.value)),
    int("n_likelihood", Measured::n_likelihood),
    float("sample_images_per_second", |all| all.row.sample_images_per_second),
    float("sample_latency_ms", |all| all.row.sample_latency_ms),
    text("sample_device", |all| all.row.sample_device.as_deref()),
    text("sample_processor", |all| all.row.sample_processor.as_deref()),
    int("sample_threads", |all| count(all.row.sample_threads)),
    int("sample_batch", |all| count(all.row.sample_batch)),
    float("evaluate_seconds", |all| all.row.evaluate_seconds),
    text("tool_version", |all| Some(&all.row.tool_version)),
    text("libtorch_version", |all| Some(&all.row.libtorch_version)),
];

const fn text(name: &'static str, value: fn(&Measured) -> Option<&str>) -> Column {
    Column { name, value: Value::Text(value) }
}

const fn int(name: &'static str, value: fn(&Measured) -> Option<u64>) -> Column {
    Column { name, value: Value::Int(value) }
}

const fn float(name: &'static str, value: fn(&Measured) -> Option<f64>) -> Column {
    Column { name, value: Value::Float(value) }
}

const fn number(name: &'static str, place: Place, number: &'static str, part: Part) -> Column {
    Column { name, value: Value::Number(place, number, part) }
}

const fn first(number: &'static str) -> Column {
    self::number(number, Place::First, number, Part::Value)
}

const fn second(name: &'static str, number: &'static str) -> Column {
    self::number(name, Place::Second, number, Part::Value)
}

fn count<T: TryInto<u64>>(count: Option<T>) -> Option<u64> {
    count?.try_into().ok()
}

/// The whole number behind `prefix` in a parameter.
fn after(prefix: &str, found: &Measurement) -> Option<u64> {
    found.parameter.strip_prefix(prefix)?.parse().ok()
}

impl Column {
    /// The dtype in pandas: `string`, `Int64`, `Float64` or `boolean`.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "string",
            Value::Int(_) => "Int64",
            Value::Float(_) | Value::Number(..) => "Float64",
            Value::Bool(_) => "boolean",
        }
    }

    /// The number of `metrics.csv` whose value the column repeats.
    pub fn number(&self) -> Option<&'static str> {
        match self.value {
            Value::Number(_, number, Part::Value) => Some(number),
            _ => None,
        }
    }

    /// The value of a column of numbers; `None` for an empty cell and for text.
    fn float(&self, measured: &Measured) -> Option<f64> {
        match self.value {
            Value::Text(_) | Value::Bool(_) => None,
            Value::Int(value) => value(measured).map(|value| value as f64),
            Value::Float(value) => value(measured),
            Value::Number(place, number, part) => {
                let space = match place {
                    Place::First => &measured.row.feature_space,
                    Place::Second => measured.row.second_space.as_ref()?,
                };
                let found = measured.in_space(number, space)?;
                match part {
                    Part::Value => Some(found.value),
                    Part::Error => found.standard_error,
                    Part::Floor => found.floor,
                }
            }
        }
    }
}

impl Measured {
    /// A number of `evaluation.csv` by the name of its column; `None` for an empty cell.
    pub fn number(&self, column: &str) -> Option<f64> {
        COLUMNS.iter().find(|known| known.name == column)?.float(self)
    }

    /// The kind of likelihood in the columns of `evaluation.csv`: the first one that is no bound by importance samples,
    /// or with `importance` the first one that is.
    pub fn likelihood(&self, importance: bool) -> Option<&str> {
        let mut found = self.metrics.iter().filter(|found| is_likelihood(found));
        found.find(|found| found.parameter.contains("importance") == importance).map(|found| &*found.parameter)
    }

    /// Whether the samples hold more copies of training rows than chance explains; `None` where nothing is known.
    pub fn memorised(&self) -> Option<bool> {
        let copied = self.main("copied_share").filter(|copied| copied.value.is_finite())?;
        let error = copied.standard_error.unwrap_or(f64::INFINITY);
        Some(copied.value > MEMORISED && copied.value - 3.0 * error > FALSE_ALARMS)
    }

    /// The first measurement of a number in the first feature space.
    fn main(&self, number: &str) -> Option<&Measurement> {
        self.in_space(number, &self.row.feature_space)
    }

    fn in_space(&self, number: &str, space: &str) -> Option<&Measurement> {
        self.metrics.iter().find(|found| found.metric == number && found.space == space)
    }

    fn modes(&self) -> Option<&Measurement> {
        self.main("modes_covered").filter(|modes| modes.value.is_finite())
    }

    fn of_likelihood(&self, number: &str, importance: bool) -> Option<&Measurement> {
        let kind = self.likelihood(importance)?;
        self.metrics.iter().find(|found| found.metric == number && found.parameter == kind)
    }

    fn n_likelihood(&self) -> Option<u64> {
        let kind = self.likelihood(false).or_else(|| self.likelihood(true))?;
        let found = self.metrics.iter().find(|found| is_likelihood(found) && found.parameter == kind)?;
        Some(found.n_real as u64)
    }
}

fn is_likelihood(found: &Measurement) -> bool {
    matches!(found.metric.as_str(), "bits_per_dim" | "nll_nats")
}

impl Serialize for Measured {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_struct("Measured", COLUMNS.len())?;
        for column in &COLUMNS {
            match column.value {
                Value::Text(value) => row.serialize_field(column.name, &value(self))?,
                Value::Int(value) => row.serialize_field(column.name, &value(self))?,
                Value::Bool(value) => row.serialize_field(column.name, &value(self))?,
                Value::Float(_) | Value::Number(..) => row.serialize_field(column.name, &column.float(self))?,
            }
        }
        row.end()
    }
}
