//! Feature spaces by name, and the feature networks of `features/`, compiled in.

use std::fmt::Write;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail};
use gen_core::Error;
use gen_core::data::{Catalog, DataSpec, Dataset};
use gen_core::eval::FeatureSpace;
use gen_core::eval::features::{self, FeatureNetwork, InceptionSource, PrincipalComponents, RandomNetwork};
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

static NETWORKS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/features");

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

/// The feature spaces that a user asks for, in order: `--features auto`, `--features classifier,pca`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choices(Vec<Choice>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    /// Of images two spaces: the classifier of the data set if the program has one, and one that no label had a part in.
    /// Points as they are.
    Auto,
    /// The classifier of the data set, which the program carries.
    Classifier,
    /// A convolutional network that nobody trained.
    Random,
    /// 64 principal components of the training pixels.
    Pca,
    /// The Inception network of published FIDs, from a file, an address, or where it is published.
    Inception(InceptionSource),
    /// The classifier in this file.
    File(PathBuf),
}

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
            "" => Err(Error::invalid(
                "--features takes auto, classifier, random, pca, inception:FILE or a file, with commas between",
            )),
            "auto" => Ok(Choice::Auto),
            "classifier" => Ok(Choice::Classifier),
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
    let classifier = |network, sha256| FeatureSpace::Classifier { name: spec.name.clone(), sha256, network };
    Ok(match choice {
        Choice::Pca => vec![pca()?],
        Choice::Random => vec![random()?],
        Choice::Auto => match built_in(&spec.name)?.filter(|(network, _)| network.fits(spec)) {
            Some((network, sha256)) => vec![classifier(network, sha256), random()?],
            None => vec![random()?, pca()?],
        },
        Choice::Classifier => {
            let Some((network, sha256)) = built_in(&spec.name)? else {
                let known = records()?.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
                bail!(
                    "there is no classifier of `{}`: `gen features train` makes one; there are {known}",
                    spec.name
                );
            };
            vec![classifier(checked(network, spec, "the classifier")?, sha256)]
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
            let bytes = std::fs::read(path).with_context(|| {
                format!(
                    "--features takes auto, classifier, random, pca, inception:FILE or the file of a classifier: {}",
                    path.display()
                )
            })?;
            let network = FeatureNetwork::from_safetensors(&bytes).context(path.display().to_string())?;
            let network = checked(network, spec, &path.display().to_string())?;
            vec![classifier(network, sha256(&bytes))]
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
fn built_in(dataset: &str) -> anyhow::Result<Option<(FeatureNetwork, String)>> {
    let Some(file) = NETWORKS.get_file(format!("{dataset}.safetensors")) else { return Ok(None) };
    let network = FeatureNetwork::from_safetensors(file.contents())?;
    Ok(Some((network, sha256(file.contents()))))
}

/// The records of the networks that the program carries, sorted by name.
pub(crate) fn records() -> anyhow::Result<Vec<(String, Record)>> {
    let file = NETWORKS.get_file(RECORDS).and_then(|file| file.contents_utf8());
    let table: std::collections::BTreeMap<String, Record> = toml::from_str(file.unwrap_or_default())?;
    Ok(table.into_iter().collect())
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

    #[test]
    fn the_records_are_those_of_the_networks() {
        let records = records().unwrap();
        let names: Vec<&str> = records.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["digits", "fashion-mnist", "mnist"]);
        let catalog = catalog::open().unwrap();
        for (name, record) in &records {
            let file = NETWORKS.get_file(format!("{name}.safetensors")).unwrap();
            assert!(file.contents().len() < 1_000_000, "{name}");
            let (network, hash) = built_in(name).unwrap().unwrap();
            assert_eq!((hash, network.parameters()), (record.sha256.clone(), record.parameters), "{name}");
            assert_eq!(network.shape(), catalog.manifest(name).unwrap().shape, "{name}");
        }
        let accuracy = |at: usize| records[at].1.test_accuracy;
        assert!(accuracy(0) > 0.98 && accuracy(1) > 0.92 && accuracy(2) > 0.99);
    }

    #[test]
    fn the_accuracy_and_the_data_of_the_digits_are_as_recorded() {
        let data = catalog::load("digits").unwrap();
        let (network, _) = built_in("digits").unwrap().unwrap();
        let record = &records().unwrap()[0].1;
        assert_eq!(data.spec.sha256, record.dataset_sha256);
        let accuracy = network.accuracy(&data.test).unwrap();
        // One image may lie on the border between two classes.
        assert!((accuracy - record.test_accuracy).abs() < 1.5 / data.test.len() as f64, "{accuracy}");
    }

    /// The first four features of an image by formula, as they were when the weights were committed.
    #[test]
    fn features_are_as_they_were() {
        let at = |name: &str, side: i64| {
            let i = Tensor::arange(side * side, (Kind::Double, Device::Cpu));
            let image = ((&i * 0.37).sin() * 100.0 + 128.0).to_kind(Kind::Uint8).view([1, 1, side, side]);
            let features = built_in(name).unwrap().unwrap().0.features_and_logits(&image, &mut |_, _| ()).0;
            Vec::<f64>::try_from(features.get(0).narrow(0, 0, 4)).unwrap()
        };
        let found = [at("digits", 8), at("fashion-mnist", 28), at("mnist", 28)].concat();
        let expected = [
            -1.859902, 5.059050, -0.449485, -1.033867, //
            -0.163919, 0.287001, -0.220097, -0.743938, //
            -0.591900, -3.410264, -1.525546, -1.005192,
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
        assert_eq!(names(&data, "auto").unwrap(), ["classifier:digits", "random-64"]);
        assert_eq!(names(&data, "pca, classifier,pca").unwrap(), ["pca-61", "classifier:digits"]);
        let error = |choices| names(&data, choices).unwrap_err().to_string();
        assert!(error("nothing").starts_with("--features takes auto, classifier, random"));
        assert!(error("inception:nothing.pth").starts_with("--features inception"));
        assert!("auto,".parse::<Choices>().is_err());
        let points = catalog::load("moons").unwrap();
        assert_eq!(names(&points, "auto").unwrap(), ["identity"]);
        assert!(names(&points, "pca").unwrap_err().to_string().contains("points are compared as they are"));
    }
}
