//! The columns of an evaluation, and how those that people compare are shown.

/// The columns of `evaluation.csv`, in order. A file may have more.
pub(super) const EVALUATION: [&str; 51] = [
    "run",
    "family",
    "model",
    "dataset",
    "dataset_sha256",
    "seed",
    "weights",
    "steps",
    "images_seen",
    "train_seconds",
    "train_cpu_seconds",
    "train_images_per_second",
    "batch_size",
    "parameters",
    "sampling_parameters",
    "peak_rss_mib",
    "device",
    "threads",
    "sampler",
    "nfe",
    "n_real",
    "n_fake",
    "feature_space",
    "feature_sha256",
    "fd",
    "fd_floor",
    "kid",
    "kid_standard_error",
    "precision",
    "recall",
    "density",
    "coverage",
    "prdc_n",
    "prdc_k",
    "mmd",
    "modes_covered",
    "modes_total",
    "high_quality_share",
    "likelihood_kind",
    "bits_per_dim",
    "bits_per_dim_standard_error",
    "nll_nats",
    "nll_standard_error",
    "nll_gap_nats",
    "importance_kind",
    "importance_bits_per_dim",
    "importance_nll_nats",
    "n_likelihood",
    "sample_images_per_second",
    "sample_latency_ms",
    "evaluate_seconds",
];

/// The columns after those of the measurements.
pub(super) const VERSIONS: [&str; 2] = ["tool_version", "libtorch_version"];

/// The columns that the summary adds, after `seed`.
pub(super) const ADDED: [&str; 2] = ["status", "error"];

/// The columns of a summary: those of an evaluation with [`ADDED`] among them, then `more`.
pub(super) fn of_summary<'a>(more: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut columns = Vec::new();
    for column in EVALUATION.into_iter().chain(VERSIONS) {
        columns.push(column);
        if column == "seed" {
            columns.extend(ADDED);
        }
    }
    for column in more {
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

/// Columns that hold words; all others hold numbers.
pub(super) fn is_text(column: &str) -> bool {
    const TEXT: [&str; 14] = [
        "run",
        "family",
        "model",
        "dataset",
        "dataset_sha256",
        "weights",
        "device",
        "sampler",
        "feature_space",
        "feature_sha256",
        "likelihood_kind",
        "importance_kind",
        "tool_version",
        "libtorch_version",
    ];
    TEXT.contains(&column)
}

/// Which of two values is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Better {
    Lower,
    Higher,
    Neither,
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// With this many digits after the point.
    Fixed(usize),
    /// With three digits that count.
    Significant,
    /// Whole, with thousands apart.
    Count,
}

impl Format {
    pub(super) fn write(self, value: f64) -> String {
        match self {
            Format::Fixed(digits) => format!("{value:.digits$}"),
            Format::Count => thousands(value.round()),
            Format::Significant if value == 0.0 => "0".to_owned(),
            Format::Significant => {
                let magnitude = value.abs().log10().floor();
                if magnitude >= 2.0 {
                    thousands(value.round())
                } else if magnitude < -5.0 {
                    format!("{value:.1e}")
                } else {
                    format!("{value:.*}", (2.0 - magnitude) as usize)
                }
            }
        }
    }
}

/// A whole number with commas between thousands.
fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// A column that people compare.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure {
    pub(super) column: &'static str,
    /// The head of the column.
    pub(super) head: &'static str,
    pub(super) meaning: &'static str,
    pub(super) better: Better,
    pub(super) format: Format,
    /// Whether it is among the few that a terminal and a README have room for.
    pub(super) main: bool,
}

const fn measure(
    column: &'static str,
    head: &'static str,
    better: Better,
    format: Format,
    main: bool,
    meaning: &'static str,
) -> Measure {
    Measure { column, head, meaning, better, format, main }
}

/// The columns that people compare, in the order in which tables have them.
pub(super) const MEASURES: [Measure; 19] = {
    use Better::{Higher, Lower, Neither};
    use Format::{Count, Fixed, Significant};
    [
        measure(
            "fd",
            "FD",
            Lower,
            Significant,
            true,
            "Fréchet distance between generated and test data in the feature space; its floor is the distance between training and test data",
        ),
        measure(
            "kid",
            "KID",
            Lower,
            Fixed(4),
            true,
            "kernel inception distance (squared MMD with a cubic kernel, unbiased) in the feature space",
        ),
        measure(
            "mmd",
            "MMD",
            Lower,
            Significant,
            true,
            "maximum mean discrepancy between generated and test points",
        ),
        measure(
            "modes_covered",
            "modes",
            Higher,
            Count,
            true,
            "modes of the distribution that samples reach",
        ),
        measure(
            "high_quality_share",
            "high quality",
            Higher,
            Fixed(3),
            false,
            "share of samples close to a mode",
        ),
        measure(
            "precision",
            "precision",
            Higher,
            Fixed(3),
            true,
            "share of samples that lie within the test data's neighbourhoods",
        ),
        measure(
            "recall",
            "recall",
            Higher,
            Fixed(3),
            true,
            "share of test data that lie within the samples' neighbourhoods",
        ),
        measure(
            "density",
            "density",
            Higher,
            Fixed(3),
            false,
            "precision that counts overlapping neighbourhoods; robust to outliers, may exceed 1",
        ),
        measure(
            "coverage",
            "coverage",
            Higher,
            Fixed(3),
            true,
            "share of test data with a sample in their neighbourhood",
        ),
        measure(
            "bits_per_dim",
            "bits/dim",
            Lower,
            Fixed(3),
            true,
            "negative log-likelihood of test data in bits per dimension; kinds are not comparable without a word",
        ),
        measure(
            "nll_nats",
            "NLL nats",
            Lower,
            Fixed(3),
            true,
            "negative log-likelihood of test points in nats",
        ),
        measure(
            "nll_gap_nats",
            "NLL gap",
            Lower,
            Fixed(3),
            false,
            "how far the negative log-likelihood is above the entropy of the distribution",
        ),
        measure(
            "sample_images_per_second",
            "samples/s",
            Higher,
            Significant,
            true,
            "samples drawn a second, in batches",
        ),
        measure(
            "sample_latency_ms",
            "latency ms",
            Lower,
            Significant,
            false,
            "milliseconds until one sample is drawn",
        ),
        measure("nfe", "NFE", Neither, Count, true, "network evaluations a sample costs"),
        measure("train_seconds", "train s", Neither, Count, true, "seconds of training"),
        measure(
            "train_cpu_seconds",
            "train CPU\u{a0}s",
            Neither,
            Count,
            false,
            "processor seconds of training, all threads together",
        ),
        measure(
            "parameters",
            "parameters",
            Lower,
            Count,
            true,
            "trainable parameters, all networks together",
        ),
        measure("peak_rss_mib", "memory MiB", Lower, Count, false, "largest resident memory of the training"),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_error_stand_after_the_seed_and_unknown_columns_at_the_end() {
        let columns = of_summary(["fd", "new_metric", "status"]);
        let seed = columns.iter().position(|column| *column == "seed").unwrap();
        assert_eq!(columns[seed + 1..seed + 4], ["status", "error", "weights"]);
        assert_eq!(columns.last(), Some(&"new_metric"));
        assert_eq!(columns.len(), EVALUATION.len() + VERSIONS.len() + ADDED.len() + 1);
    }

    #[test]
    fn measures_are_columns() {
        for measure in MEASURES {
            assert!(EVALUATION.contains(&measure.column), "{}", measure.column);
            assert!(!is_text(measure.column), "{}", measure.column);
        }
    }

    #[test]
    fn numbers_are_written_for_people() {
        let significant = |value| Format::Significant.write(value);
        assert_eq!(significant(12345.6), "12,346");
        assert_eq!(significant(12.345), "12.3");
        assert_eq!(significant(0.012345), "0.0123");
        assert_eq!(significant(-1.5), "-1.50");
        assert_eq!(significant(0.0), "0");
        assert_eq!(significant(1.2e-7), "1.2e-7");
        assert_eq!(Format::Count.write(1_234_567.0), "1,234,567");
        assert_eq!(Format::Count.write(-999.6), "-1,000");
        assert_eq!(Format::Fixed(3).write(0.5), "0.500");
    }
}
