//! Manifests: the description of a data set and the sources of its files, one TOML file for each.

use std::fmt;
use std::path::Path;

use serde::Deserialize;

use gen_core::data::{Shape, Splits};
use gen_core::{Error, Result};

/// A data set as its manifest describes it. The README of this crate has an example; `datasets/README.md` explains the
/// keys.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name on the command line.
    pub name: String,
    /// The full name.
    pub title: String,
    /// The licence of the data, or a note that none is stated.
    pub licence: String,
    /// Authors, year, title.
    pub citation: String,
    /// The page that describes it.
    pub homepage: String,
    /// The format of the files.
    pub format: Format,
    /// The shape of one element.
    pub shape: Shape,
    /// The names of the classes, in the order of the labels.
    pub classes: Vec<String>,
    /// The number of rows in each part; the validation rows are the last ones of the training files.
    pub splits: Splits,
    /// The files.
    pub files: Vec<DataFile>,
}

/// The format of the files of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Four IDX files: images and labels, training and test.
    Idx,
    /// The archive of the binary version of CIFAR-10.
    Cifar10,
}

impl Format {
    /// The roles of the files in this format; each occurs once.
    pub fn roles(self) -> &'static [Role] {
        match self {
            Format::Idx => &[Role::TrainImages, Role::TrainLabels, Role::TestImages, Role::TestLabels],
            Format::Cifar10 => &[Role::Archive],
        }
    }
}

/// The content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Images of the training and validation rows.
    TrainImages,
    /// Their labels.
    TrainLabels,
    /// Images of the test rows.
    TestImages,
    /// Their labels.
    TestLabels,
    /// All rows and labels.
    Archive,
}

/// A file of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// Its content.
    pub role: Role,
    /// Its name in the cache.
    pub name: String,
    /// Its size in the cache, in bytes.
    pub size: u64,
    /// SHA-256 of the file in the cache, 64 hexadecimal digits in small letters.
    pub sha256: String,
    /// Its sources, in the order in which they are tried.
    pub sources: Vec<Source>,
}

/// A source of a file.
///
/// Content compressed with gzip is decompressed on the way, unless the name of the file ends in `.gz`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// An address for HTTP or HTTPS.
    Url {
        /// The address.
        url: String,
    },
    /// A file in a Debian package, fetched by `apt-get download`.
    Debian {
        /// The package.
        package: String,
        /// The path inside it.
        path: String,
    },
    /// A file in an npm package, fetched by `npm pack`.
    Npm {
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// The path inside it.
        path: String,
    },
    /// A file that the program carries.
    Bundled {
        /// Its name in [`Catalog::bundle`](crate::Catalog::bundle).
        path: String,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Url { url } => f.write_str(url),
            Source::Debian { package, .. } => write!(f, "Debian package {package}"),
            Source::Npm { package, version, .. } => write!(f, "npm package {package}@{version}"),
            Source::Bundled { path } => write!(f, "{path} in the program"),
        }
    }
}

impl Manifest {
    /// Reads a manifest; `path` is for the messages.
    ///
    /// # Errors
    /// [`Error::Format`] when a key is missing or unknown, or a value is not allowed.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let manifest: Manifest = toml::from_str(text)
            .map_err(|error| Error::format(path, format!("not a manifest: {}", error.message())))?;
        manifest.check().map_err(|problem| Error::format(path, problem))?;
        Ok(manifest)
    }

    /// The file with this role.
    pub fn file(&self, role: Role) -> Option<&DataFile> {
        self.files.iter().find(|file| file.role == role)
    }

    /// Refuses names that are unsafe as paths or as arguments of other programs: a manifest may come from anywhere.
    fn check(&self) -> Result<(), String> {
        if !is_plain(&self.name, "-") {
            return Err(format!("`name` should be small letters, digits and `-`, found `{}`", self.name));
        }
        let roles = self.format.roles();
        if self.files.len() != roles.len() || roles.iter().any(|role| self.file(*role).is_none()) {
            return Err(format!("the format {:?} has files of the roles {roles:?}, each once", self.format));
        }
        if self.splits.train == 0 || self.splits.test == 0 || !self.shape.is_image() {
            return Err("a set has images and rows for training and test".to_owned());
        }
        self.files.iter().try_for_each(DataFile::check)
    }
}

impl DataFile {
    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if !is_plain(name, "-_.") || name.starts_with('.') {
            return Err(format!("the file name `{name}` should be small letters, digits, `-`, `_` and `.`"));
        }
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if self.sha256.len() != 64 || !self.sha256.chars().all(is_hex) {
            return Err(format!("`sha256` of {name} should be 64 hexadecimal digits in small letters"));
        }
        if self.sources.is_empty() {
            return Err(format!("{name} has no source"));
        }
        self.sources.iter().try_for_each(|source| source.check().map_err(|problem| format!("{name}: {problem}")))
    }
}

impl Source {
    fn check(&self) -> Result<(), String> {
        let plain = |text: &str, more: &str| match is_plain(text, more) && !text.starts_with('-') {
            true => Ok(()),
            false => Err(format!("`{text}` is not the name of a package or a version")),
        };
        match self {
            Source::Url { url } if !url.starts_with("https://") && !url.starts_with("http://") => {
                Err(format!("`{url}` should start with https:// or http://"))
            }
            Source::Url { .. } | Source::Bundled { .. } => Ok(()),
            Source::Debian { package, path } => plain(package, "-+.").and_then(|()| check_inner_path(path)),
            Source::Npm { package, version, path } => {
                plain(package, "-_.@/").and_then(|()| plain(version, "-+.")).and_then(|()| check_inner_path(path))
            }
        }
    }
}

fn is_plain(text: &str, more: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c);
    !text.is_empty() && text.chars().all(allowed)
}

fn check_inner_path(path: &str) -> Result<(), String> {
    let inside = |part: &str| !part.is_empty() && part != "." && part != "..";
    match path.split('/').all(inside) {
        true => Ok(()),
        false => Err(format!("`{path}` should be a path inside the package")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIFAR: &str = r#"
        name = "cifar10"
        title = "CIFAR-10"
        licence = "none stated"
        citation = "Krizhevsky 2009"
        homepage = "https://example.org"
        format = "cifar10"
        shape = { image = { channels = 3, height = 32, width = 32 } }
        classes = ["airplane", "automobile"]
        splits = { train = 45000, validation = 5000, test = 10000 }
        [[files]]
        role = "archive"
        name = "cifar.tar.gz"
        size = 5
        sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        sources = [
            { kind = "url", url = "https://example.org/cifar.tar.gz" },
            { kind = "debian", package = "cifar", path = "usr/share/cifar.tar.gz" },
            { kind = "npm", package = "@some/cifar", version = "1.0.0-beta.1", path = "package/cifar.tar.gz" },
            { kind = "bundled", path = "cifar/cifar.tar.gz" },
        ]
    "#;

    fn parse(text: &str) -> Result<Manifest> {
        Manifest::parse(text, Path::new("m.toml"))
    }

    #[test]
    fn all_keys_are_read() {
        let manifest = parse(CIFAR).unwrap();
        assert_eq!(manifest.shape, Shape::Image { channels: 3, height: 32, width: 32 });
        assert_eq!(manifest.splits, Splits { train: 45_000, validation: 5_000, test: 10_000 });
        let sources: Vec<String> = manifest.files[0].sources.iter().map(Source::to_string).collect();
        assert_eq!(
            sources,
            [
                "https://example.org/cifar.tar.gz",
                "Debian package cifar",
                "npm package @some/cifar@1.0.0-beta.1",
                "cifar/cifar.tar.gz in the program"
            ]
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, expected) in [
            ("licence =", "license =", "m.toml: not a manifest: unknown field `license`"),
            ("kind = \"url\", url", "kind = \"url\", href", "unknown field `href`"),
            ("kind = \"npm\"", "kind = \"ftp\"", "unknown variant `ftp`"),
            ("\"cifar10\"\n        title", "\"../x\"\n        title", "`name` should be small letters"),
            ("\"cifar.tar.gz\"", "\"../cifar\"", "the file name `../cifar`"),
            ("ba7816bf", "BA7816BF", "64 hexadecimal digits"),
            ("package = \"cifar\"", "package = \"--option\"", "`--option` is not the name of a package"),
            ("usr/share", "/usr/share", "should be a path inside the package"),
            ("usr/share", "usr/../..", "should be a path inside the package"),
            ("https://example.org/cifar", "ftp://example.org/cifar", "should start with https://"),
            ("role = \"archive\"", "role = \"test-labels\"", "each once"),
            ("train = 45000", "train = -1", "not a manifest"),
        ] {
            assert!(CIFAR.contains(from), "{from}");
            let error = parse(&CIFAR.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
