//! Feature spaces by name, and the feature networks of `features/`, compiled in.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail};
use gen_core::Error;
use gen_core::data::{DataSpec, Dataset};
use gen_data::Catalog;
use gen_eval::FeatureSpace;
use gen_eval::features::{self, FeatureNetwork, InceptionSource, PrincipalComponents, RandomNetwork};
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

static NETWORKS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/features");

/// The file that says what the networks are.
pub(crate) const RECORDS: &str = "features.toml";

/// What the feature networks of a data set learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NetworkKind {
    /// Its classes.
    Classifier,
    /// Its images alone.
    SelfSupervised,
}

impl NetworkKind {
    /// The file of the network for a data set of this name.
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

/// What is known of the networks: kind, data set, record.
pub(crate) type Records = BTreeMap<NetworkKind, BTreeMap<String, Record>>;

/// What is known of a network: its table in `features.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// Of the file of weights.
    pub(crate) sha256: String,
    /// Of the data set.
    pub(crate) dataset_sha256: String,
    /// Share of the test images that a classifier sees as labelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) test_accuracy: Option<f64>,
    pub(crate) parameters: usize,
    /// What made it.
    pub(crate) command: String,
}

/// The feature spaces that a user asks for, in order: `--features auto`, `--features classifier,pca`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choices(Vec<Choice>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    /// Of images two spaces: the classifier and the self-supervised network of the data set as far as the program has
    /// them, then a random network, then principal components. Points as they are.
    Auto,
    /// A network of the data set, which the program carries.
    Network(NetworkKind),
    /// A convolutional network that nobody trained.
    Random,
    /// 64 principal components of the training pixels.
    Pca,
    /// The Inception network of published FIDs, from a file, an address, or where it is published.
    Inception(InceptionSource),
    /// The feature network in this file.
    File(PathBuf),
}

/// What a user may write there.
const TAKEN: &str =
    "auto, classifier, self-supervised, random, pca, inception:FILE or the file of a feature network";

impl Choices {
    /// What is taken where nothing is asked for.
    pub(crate) fn auto() -> Self {
        Choices(vec![Choice::Auto])
    }
}

impl FromStr for Choices {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let one = |name: &str| match name.trim() {
            "" => Err(Error::invalid(format!("--features takes {TAKEN}, with commas between"))),
            "auto" => Ok(Choice::Auto),
            "classifier" => Ok(Choice::Network(NetworkKind::Classifier)),
            "self-supervised" => Ok(Choice::Network(NetworkKind::SelfSupervised)),
            "random" => Ok(Choice::Random),
            "pca" => Ok(Choice::Pca),
            other => Ok(match other.strip_prefix("inception:") {
                Some(source) => Choice::Inception(source.into()),
                None => Choice::File(other.into()),
            }),
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Choices)
    }
}

/// The spaces in which samples of `data` are compared, each once.
pub(crate) fn of(data: &Dataset, choices: &Choices) -> anyhow::Result<Vec<FeatureSpace>> {
    let mut spaces: Vec<FeatureSpace> = Vec::new();
    for choice in &choices.0 {
        for space in chosen(data, choice)? {
            if spaces.iter().all(|there| there.name() != space.name()) {
                spaces.push(space);
            }
        }
    }
    Ok(spaces)
}

fn chosen(data: &Dataset, choice: &Choice) -> anyhow::Result<Vec<FeatureSpace>> {
    let spec = &data.spec;
    if !spec.shape.is_image() {
        return match choice {
            Choice::Auto => Ok(vec![FeatureSpace::Identity]),
            _ => bail!("points are compared as they are: --features is for images"),
        };
    }
    let pca =
        || Ok::<_, Error>(FeatureSpace::Pca(PrincipalComponents::fit(&data.train.x, features::FEATURES)?));
    let random = || Ok::<_, Error>(FeatureSpace::Random(RandomNetwork::fit(spec.shape, &data.train.x)?));
    let network = |network: FeatureNetwork, sha256: String| {
        let name = spec.name.clone();
        match network.knows_classes() {
            true => FeatureSpace::Classifier { name, sha256, network },
            false => FeatureSpace::SelfSupervised { name, sha256, network },
        }
    };
    let fitting =
        |kind| Ok::<_, anyhow::Error>(built_in(kind, &spec.name)?.filter(|(network, _)| network.fits(spec)));
    Ok(match choice {
        Choice::Pca => vec![pca()?],
        Choice::Random => vec![random()?],
        Choice::Auto => match (fitting(NetworkKind::Classifier)?, fitting(NetworkKind::SelfSupervised)?) {
            (None, None) => vec![random()?, pca()?],
            (first, second) => {
                let missing = first.is_none() || second.is_none();
                let mut found: Vec<_> =
                    [first, second].into_iter().flatten().map(|(found, hash)| network(found, hash)).collect();
                if missing {
                    found.push(random()?);
                }
                found
            }
        },
        Choice::Network(kind) => {
            let Some((found, sha256)) = built_in(*kind, &spec.name)? else {
                let known = records()?.remove(kind).unwrap_or_default();
                let known = known.into_keys().collect::<Vec<_>>().join(", ");
                bail!(
                    "there is no {kind} network of `{}`: `gen features train --kind {kind}` makes one; there are those of {known}",
                    spec.name
                );
            };
            vec![network(checked(found, spec, &format!("the {kind} network"))?, sha256)]
        }
        Choice::Inception(source) => {
            let mut told = false;
            let mut tell = |_: u64, _: Option<u64>| {
                if !std::mem::replace(&mut told, true) {
                    crate::eprint(&format!("fetching {source}"));
                }
            };
            let network =
                source.load(&Catalog::default_cache()?, &mut tell).context("--features inception")?;
            vec![FeatureSpace::Inception(Box::new(network))]
        }
        Choice::File(path) => {
            let bytes = std::fs::read(path)
                .with_context(|| format!("--features takes {TAKEN}: {}", path.display()))?;
            let found = FeatureNetwork::from_safetensors(&bytes).context(path.display().to_string())?;
            vec![network(checked(found, spec, &path.display().to_string())?, sha256(&bytes))]
        }
    })
}

fn checked(network: FeatureNetwork, spec: &DataSpec, what: &str) -> anyhow::Result<FeatureNetwork> {
    if !network.fits(spec) {
        bail!("{what} is for {:?}, not for {:?}", network.shape(), spec.shape);
    }
    Ok(network)
}

/// The network for a data set that the program carries, and the SHA-256 of its weights.
fn built_in(kind: NetworkKind, dataset: &str) -> anyhow::Result<Option<(FeatureNetwork, String)>> {
    let Some(file) = NETWORKS.get_file(kind.file(dataset)) else { return Ok(None) };
    let network = FeatureNetwork::from_safetensors(file.contents())?;
    Ok(Some((network, sha256(file.contents()))))
}

/// The records of the networks that the program carries.
pub(crate) fn records() -> anyhow::Result<Records> {
    let file = NETWORKS.get_file(RECORDS).and_then(|file| file.contents_utf8());
    Ok(toml::from_str(file.unwrap_or_default())?)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::catalog;

    const KINDS: [NetworkKind; 2] = [NetworkKind::Classifier, NetworkKind::SelfSupervised];

    #[test]
    fn the_records_are_those_of_the_networks() {
        let records = records().unwrap();
        assert!(records.keys().eq(&KINDS));
        let catalog = catalog::open().unwrap();
        for (kind, networks) in &records {
            assert!(networks.keys().eq(["digits", "fashion-mnist", "mnist"]), "{kind}");
            for (name, record) in networks {
                let file = NETWORKS.get_file(kind.file(name)).unwrap();
                assert!(file.contents().len() < 1_000_000, "{kind} {name}");
                let (network, hash) = built_in(*kind, name).unwrap().unwrap();
                assert_eq!(
                    (&hash, network.parameters()),
                    (&record.sha256, record.parameters),
                    "{kind} {name}"
                );
                assert_eq!(network.shape(), catalog.manifest(name).unwrap().shape, "{kind} {name}");
                assert_eq!(network.knows_classes(), *kind == NetworkKind::Classifier, "{name}");
                assert_eq!(record.test_accuracy.is_some(), network.knows_classes(), "{kind} {name}");
            }
        }
        let accuracy = |name: &str| records[&NetworkKind::Classifier][name].test_accuracy.unwrap();
        assert!(accuracy("digits") > 0.98 && accuracy("fashion-mnist") > 0.9 && accuracy("mnist") > 0.99);
    }

    #[test]
    fn the_accuracy_and_the_data_of_the_digits_are_as_recorded() {
        let data = catalog::load("digits").unwrap();
        let (network, _) = built_in(NetworkKind::Classifier, "digits").unwrap().unwrap();
        let records = records().unwrap();
        for kind in KINDS {
            assert_eq!(data.spec.sha256, records[&kind]["digits"].dataset_sha256);
        }
        let accuracy = network.accuracy(&data.test).unwrap();
        let recorded = records[&NetworkKind::Classifier]["digits"].test_accuracy.unwrap();
        // One image may lie on the border between two classes.
        assert!((accuracy - recorded).abs() < 1.5 / data.test.len() as f64, "{accuracy}");
    }

    /// The first four features of an image by formula, as they were when the weights were committed.
    #[test]
    fn features_are_as_they_were() {
        let at = |kind: NetworkKind, name: &str, side: i64| {
            let i = Tensor::arange(side * side, (Kind::Double, Device::Cpu));
            let image = ((&i * 0.37).sin() * 100.0 + 128.0).to_kind(Kind::Uint8).view([1, 1, side, side]);
            let network = built_in(kind, name).unwrap().unwrap().0;
            let features = network.features(&image, &mut |_, _| ()).features;
            Vec::<f64>::try_from(features.get(0).narrow(0, 0, 4)).unwrap()
        };
        let sets = [("digits", 8), ("fashion-mnist", 28), ("mnist", 28)];
        let found: Vec<f64> = KINDS
            .into_iter()
            .flat_map(|kind| sets.map(|(name, side)| at(kind, name, side)))
            .flatten()
            .collect();
        #[rustfmt::skip]
        let expected = [
            -0.775309, -0.897437, 7.111266, 3.650247, -0.204698, -0.050895, 0.878161, 3.402153,
            -0.460683, -2.408351, 20.062676, 8.593818, 0.243687, 0.539036, 0.500374, 0.199520,
            -1.048026, 1.343497, -0.181258, -1.444014, 0.374908, -0.392633, 0.757957, -0.525922,
        ];
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-4 * (1.0 + b.abs());
        assert!(found.iter().zip(&expected).all(near), "{found:.6?}");
    }

    #[test]
    fn a_set_without_a_network_has_components() {
        let data = catalog::load("digits").unwrap();
        let names = |data: &Dataset, choices: &str| {
            let spaces = of(data, &choices.parse().unwrap())?;
            Ok::<_, anyhow::Error>(spaces.iter().map(FeatureSpace::name).collect::<Vec<_>>())
        };
        assert_eq!(names(&data, "auto").unwrap(), ["classifier:digits", "self-supervised:digits"]);
        assert_eq!(names(&data, "pca, classifier,pca").unwrap(), ["pca-61", "classifier:digits"]);
        let error = |choices| names(&data, choices).unwrap_err().to_string();
        assert_eq!(names(&data, "random,self-supervised").unwrap(), ["random-64", "self-supervised:digits"]);
        let mut unknown = catalog::load("digits").unwrap();
        unknown.spec.name = "mine".to_owned();
        assert_eq!(names(&unknown, "auto").unwrap(), ["random-64", "pca-61"]);
        let none = names(&unknown, "self-supervised").unwrap_err().to_string();
        assert!(none.contains("`gen features train --kind self-supervised` makes one"), "{none}");
        assert!(error("nothing").starts_with("--features takes auto, classifier, self-supervised, random"));
        assert!(error("inception:nothing.pth").starts_with("--features inception"));
        assert!("auto,".parse::<Choices>().is_err());
        let points = catalog::load("moons").unwrap();
        assert_eq!(names(&points, "auto").unwrap(), ["identity"]);
        assert!(names(&points, "pca").unwrap_err().to_string().contains("points are compared as they are"));
    }
}
