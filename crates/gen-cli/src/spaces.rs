//! The feature spaces of the option `--features`.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail};
use gen_core::Error;
use gen_core::data::{DataSpec, Dataset};
use gen_data::{Catalog, sha256};
use gen_eval::FeatureSpace;
use gen_eval::features::{self, FeatureNetwork, InceptionSource, PrincipalComponents, RandomNetwork};

use crate::message;
use crate::networks::{NetworkKind, built_in, records};

/// The feature spaces that a user asks for, in order: `--features auto`, `--features classifier,pca`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choices(Vec<Choice>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    /// Two spaces for images: the first two that exist of the built-in classifier, the built-in self-supervised
    /// network, a random network and principal components. Points as they are.
    Auto,
    /// A built-in network of the data set.
    Network(NetworkKind),
    /// An untrained convolutional network.
    Random,
    /// 64 principal components of the training pixels.
    Pca,
    /// The Inception network of published FIDs, from a file, a URL, or its publisher.
    Inception(InceptionSource),
    /// The feature network in this file.
    File(PathBuf),
}

/// The values of `--features`, for messages.
const TAKEN: &str = "auto, classifier, self-supervised, random, pca, inception:FILE or the file of a feature network";

impl Choices {
    /// The default.
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

/// The chosen spaces, fitted to `data`, each once.
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
    let pca = || Ok::<_, Error>(FeatureSpace::Pca(PrincipalComponents::fit(&data.train.x, features::FEATURES)?));
    let random = || Ok::<_, Error>(FeatureSpace::Random(RandomNetwork::fit(spec.shape, &data.train.x)?));
    let network = |network: FeatureNetwork, sha256: String| {
        let name = spec.name.clone();
        match network.knows_classes() {
            true => FeatureSpace::Classifier { name, sha256, network },
            false => FeatureSpace::SelfSupervised { name, sha256, network },
        }
    };
    let fitting = |kind| Ok::<_, anyhow::Error>(built_in(kind, &spec.name)?.filter(|(network, _)| network.fits(spec)));
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
                    "there is no {kind} network of `{}`: `gen features train --kind {kind}` makes one; there are \
                     networks of {known}",
                    spec.name
                );
            };
            vec![network(checked(found, spec, &format!("the {kind} network"))?, sha256)]
        }
        Choice::Inception(source) => {
            let mut is_told = false;
            let mut tell = |_: u64, _: Option<u64>| {
                if !std::mem::replace(&mut is_told, true) {
                    message::tell(format!("fetching {source}"));
                }
            };
            let network = source.load(&Catalog::default_cache()?, &mut tell).context("--features inception")?;
            vec![FeatureSpace::Inception(Box::new(network))]
        }
        Choice::File(path) => {
            let bytes = std::fs::read(path).with_context(|| format!("--features takes {TAKEN}: {}", path.display()))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn data_without_a_network_has_components() {
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
