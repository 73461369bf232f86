//! Feature spaces by name, and the feature networks of `features/`, compiled in.

use std::fmt::Write;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail};
use gen_core::data::Dataset;
use gen_core::eval::FeatureSpace;
use gen_core::eval::features::FeatureNetwork;
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

static FEATURES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/features");

/// The file that says what the networks are.
pub(crate) const RECORDS: &str = "features.toml";

/// What is known of a network: its table in `features.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// Of the file of weights.
    pub(crate) sha256: String,
    /// Of the data set.
    pub(crate) dataset_sha256: String,
    /// Share of the test images that are classified as labelled.
    pub(crate) test_accuracy: f64,
    pub(crate) parameters: usize,
    /// What made it.
    pub(crate) command: String,
}

/// The feature space that a user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The classifier of the data set if the program has one, else principal components; points as they are.
    Auto,
    /// 64 principal components of the training pixels.
    Pca,
    /// The network in this file.
    File(PathBuf),
}

impl FromStr for Choice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Choice::Auto,
            "pca" => Choice::Pca,
            path => Choice::File(path.into()),
        })
    }
}

/// The space in which samples of `data` are compared.
pub(crate) fn of(data: &Dataset, choice: &Choice) -> anyhow::Result<FeatureSpace> {
    let classifier = match choice {
        Choice::Pca => None,
        Choice::Auto => built_in(&data.spec.name)?.filter(|(network, _)| network.fits(&data.spec)),
        Choice::File(path) => {
            let bytes = std::fs::read(path)
                .with_context(|| format!("--features takes auto, pca or a file: {}", path.display()))?;
            let network = FeatureNetwork::from_safetensors(&bytes).context(path.display().to_string())?;
            if !network.fits(&data.spec) {
                bail!("{} is for {:?}, not for {:?}", path.display(), network.shape(), data.spec.shape);
            }
            Some((network, sha256(&bytes)))
        }
    };
    Ok(match classifier {
        Some((network, sha256)) => FeatureSpace::Classifier { name: data.spec.name.clone(), sha256, network },
        None => FeatureSpace::without_network(data.spec.shape, &data.train.x)?,
    })
}

/// The network for a data set that the program carries, and the SHA-256 of its weights.
fn built_in(dataset: &str) -> anyhow::Result<Option<(FeatureNetwork, String)>> {
    let Some(file) = FEATURES.get_file(format!("{dataset}.safetensors")) else { return Ok(None) };
    let network = FeatureNetwork::from_safetensors(file.contents())?;
    Ok(Some((network, sha256(file.contents()))))
}

/// The records of the networks that the program carries, sorted by name.
pub(crate) fn records() -> anyhow::Result<Vec<(String, Record)>> {
    let file = FEATURES.get_file(RECORDS).and_then(|file| file.contents_utf8());
    let table: std::collections::BTreeMap<String, Record> = toml::from_str(file.unwrap_or_default())?;
    Ok(table.into_iter().collect())
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
