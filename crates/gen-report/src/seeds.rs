//! Which runs are seeds of one model.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::split_seed;
use crate::runs::Run;

/// The columns in which seeds of one model agree, besides model and data.
const ALIKE: [&str; 11] = [
    "budget",
    "device",
    "train_precision",
    "weights",
    "sampler",
    "sampling",
    "nfe",
    "n_real",
    "n_fake",
    "feature_space",
    "feature_sha256",
];

impl Run {
    /// The name of its folder without the seed at its end: what the runs of one model have in common.
    pub(crate) fn stem(&self) -> &str {
        split_seed(self.folder_name()).0
    }

    /// Whether two runs are seeds of one model: of the same configuration, budget, data, device and precision, measured
    /// in the same way. Columns that either run lacks, because it failed for example, are ignored.
    ///
    /// Where a configuration is not known, the names of the folders may only differ in the seed at their ends.
    pub(crate) fn is_another_seed_of(&self, other: &Self) -> bool {
        let alike = |column: &str| {
            let (one, two) = (self.text(column), other.text(column));
            one.is_empty() || two.is_empty() || one == two
        };
        let another_seed = || {
            let (one, two) = (self.text("seed"), other.text("seed"));
            one.is_empty() || two.is_empty() || one != two
        };
        self.family() == other.family()
            && self.model() == other.model()
            && self.is_of_same_data(other)
            && ALIKE.into_iter().all(alike)
            && match self.has_same_configuration(other) {
                Some(same) => same && another_seed(),
                None => self.stem() == other.stem() && self.folder.parent() == other.folder.parent(),
            }
    }

    /// Whether two configurations are the same apart from the seed; `None` where one of them is not known.
    fn has_same_configuration(&self, other: &Self) -> Option<bool> {
        match [self, other].map(|run| run.text("config_sha256")) {
            [one, two] if !one.is_empty() && !two.is_empty() => Some(one == two),
            _ => Some(self.settings.as_ref()? == other.settings.as_ref()?),
        }
    }

    /// Whether both are of the same data: by its checksum where both have one, else by its name.
    pub(crate) fn is_of_same_data(&self, other: &Self) -> bool {
        match [self, other].map(|run| run.text("dataset_sha256")) {
            [one, two] if !one.is_empty() && !two.is_empty() => one == two,
            _ => self.text("dataset") == other.text("dataset"),
        }
    }

    /// How this run differs from another apart from the seed: name, own value, the other's. Only what both runs have a
    /// value of is compared.
    pub(crate) fn differences(&self, other: &Self) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        if let (Some(own), Some(others)) = (&self.settings, &other.settings) {
            let names: BTreeSet<&String> = own.keys().chain(others.keys()).collect();
            for name in names {
                let value = |settings: &BTreeMap<String, String>| {
                    settings.get(name).cloned().unwrap_or_else(|| "none".to_owned())
                };
                let parts = ["model.", "training.", "data.options."];
                let short = parts.iter().find_map(|part| name.strip_prefix(part));
                found.push((short.unwrap_or(name).to_owned(), value(own), value(others)));
            }
        }
        // The precision is among the settings.
        for column in ALIKE.into_iter().filter(|column| *column != "train_precision") {
            let [one, two] = [self, other].map(|run| run.text(column).to_owned());
            if !one.is_empty() && !two.is_empty() {
                found.push((column.to_owned(), one, two));
            }
        }
        found.retain(|(_, one, two)| one != two);
        found
    }
}
