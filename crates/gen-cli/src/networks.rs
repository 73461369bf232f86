//! The feature networks of `features/`, compiled in.

use std::collections::BTreeMap;
use std::fmt;

use gen_data::sha256;
use gen_eval::features::FeatureNetwork;
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};

static NETWORKS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/features");

/// The file of the records of all networks.
pub(crate) const RECORDS: &str = "features.toml";

/// The training signal of a feature network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NetworkKind {
    /// The classes of a data set
    Classifier,
    /// The images of a data set, without their classes
    SelfSupervised,
}

impl NetworkKind {
    /// The name of the file of the network for a data set.
    pub(crate) fn file(self, dataset: &str) -> String {
        format!("{self}-{}.safetensors", dataset.replace([':', '/', '\\'], "-"))
    }
}

impl fmt::Display for NetworkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NetworkKind::Classifier => "classifier",
            NetworkKind::SelfSupervised => "self-supervised",
        })
    }
}

/// The records of networks, by kind and data set.
pub(crate) type Records = BTreeMap<NetworkKind, BTreeMap<String, Record>>;

/// The record of a network: its table in `features.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// SHA-256 of the file of weights.
    pub(crate) sha256: String,
    /// SHA-256 of the data set.
    pub(crate) dataset_sha256: String,
    /// Share of the test images that a classifier assigns to their class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) test_accuracy: Option<f64>,
    pub(crate) parameters: usize,
    /// The command that trained the network.
    pub(crate) command: String,
}

/// The built-in network for a data set, if there is one, and the SHA-256 of its weights.
pub(crate) fn built_in(kind: NetworkKind, dataset: &str) -> anyhow::Result<Option<(FeatureNetwork, String)>> {
    let Some(file) = NETWORKS.get_file(kind.file(dataset)) else { return Ok(None) };
    let network = FeatureNetwork::from_safetensors(file.contents())?;
    Ok(Some((network, sha256(file.contents()))))
}

/// The records of the built-in networks.
pub(crate) fn records() -> anyhow::Result<Records> {
    let file = NETWORKS.get_file(RECORDS).and_then(|file| file.contents_utf8());
    Ok(toml::from_str(file.unwrap_or_default())?)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::catalog;

    const KINDS: [NetworkKind; 2] = [NetworkKind::Classifier, NetworkKind::SelfSupervised];

    #[test]
    fn the_records_match_the_networks() {
        let records = records().unwrap();
        assert!(records.keys().eq(&KINDS));
        let catalog = catalog::open().unwrap();
        for (kind, networks) in &records {
            assert!(networks.keys().eq(["digits", "fashion-mnist", "mnist"]), "{kind}");
            for (name, record) in networks {
                let file = NETWORKS.get_file(kind.file(name)).unwrap();
                assert!(file.contents().len() < 1_000_000, "{kind} {name}");
                let (network, hash) = built_in(*kind, name).unwrap().unwrap();
                assert_eq!((&hash, network.parameters()), (&record.sha256, record.parameters), "{kind} {name}");
                assert_eq!(network.shape(), catalog.manifest(name).unwrap().shape, "{kind} {name}");
                assert_eq!(network.knows_classes(), *kind == NetworkKind::Classifier, "{name}");
                assert_eq!(record.test_accuracy.is_some(), network.knows_classes(), "{kind} {name}");
            }
        }
        let accuracy = |name: &str| records[&NetworkKind::Classifier][name].test_accuracy.unwrap();
        assert!(accuracy("digits") > 0.98 && accuracy("fashion-mnist") > 0.9 && accuracy("mnist") > 0.99);
    }

    #[test]
    fn the_accuracy_and_the_data_of_the_digits_match_the_records() {
        let data = catalog::load("digits").unwrap();
        let (network, _) = built_in(NetworkKind::Classifier, "digits").unwrap().unwrap();
        let records = records().unwrap();
        for kind in KINDS {
            assert_eq!(data.spec.sha256, records[&kind]["digits"].dataset_sha256);
        }
        let accuracy = network.accuracy(&data.test).unwrap();
        let recorded = records[&NetworkKind::Classifier]["digits"].test_accuracy.unwrap();
        // One image may be on the border between two classes.
        assert!((accuracy - recorded).abs() < 1.5 / data.test.len() as f64, "{accuracy}");
    }

    /// Regression test: the first four features of an image that is made by formula.
    #[test]
    fn features_stay_the_same() {
        let at = |kind: NetworkKind, name: &str, side: i64| {
            let i = Tensor::arange(side * side, (Kind::Double, Device::Cpu));
            let image = ((&i * 0.37).sin() * 100.0 + 128.0).to_kind(Kind::Uint8).view([1, 1, side, side]);
            let network = built_in(kind, name).unwrap().unwrap().0;
            let features = network.features(&image, &mut |_, _| ()).features;
            Vec::<f64>::try_from(features.get(0).narrow(0, 0, 4)).unwrap()
        };
        let sets = [("digits", 8), ("fashion-mnist", 28), ("mnist", 28)];
        let found: Vec<f64> =
            KINDS.into_iter().flat_map(|kind| sets.map(|(name, side)| at(kind, name, side))).flatten().collect();
        #[rustfmt::skip]
        let expected = [
            -0.775309, -0.897437, 7.111266, 3.650247, -0.204698, -0.050895, 0.878161, 3.402153,
            -0.460683, -2.408351, 20.062676, 8.593818, 0.243687, 0.539036, 0.500374, 0.199520,
            -1.048026, 1.343497, -0.181258, -1.444014, 0.374908, -0.392633, 0.757957, -0.525922,
        ];
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-4 * (1.0 + b.abs());
        assert!(found.iter().zip(&expected).all(near), "{found:.6?}");
    }
}
