use std::borrow::Cow;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use etcetera::base_strategy::{BaseStrategy, Xdg};
use gen_core::data::{Dataset, PointSet, Split};
use gen_core::{Error, Result};

use crate::checksum::{sha256, sha256_of_list};
use crate::fetch::{self, OnFetch};
use crate::loaded::Loaded;
use crate::location::Location;
use crate::manifest::{DataFile, Format, Manifest, Role, Source};
use crate::own::{self, Rows};
use crate::{cifar, csv, folder, idx, npy};

/// The data sets that a program knows: those of manifests, the [point sets](gen_core::data::points), and the user's own
/// files.
///
/// ```no_run
/// use gen_data::{Catalog, Manifest};
///
/// # fn main() -> gen_core::Result<()> {
/// # let text = "";
/// let manifest = Manifest::parse(text, "mnist.toml".as_ref())?;
/// let catalog = Catalog::new(vec![manifest], Catalog::default_cache()?)?;
/// let mnist = catalog.load("mnist", &mut |_| ())?.data;
/// let moons = catalog.load("moons", &mut |_| ())?.data;
/// let mine = catalog.load("folder:photos?size=32", &mut |_| ())?.data;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Catalog {
    manifests: Vec<Manifest>,
    bundled: BTreeMap<String, Cow<'static, [u8]>>,
    cache: PathBuf,
}

/// The state of a file of a data set on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// The program carries it.
    Bundled,
    /// It is in the cache, with the right checksum.
    Good,
    /// It is not in the cache.
    Absent,
    /// It is in the cache, but differs from the manifest; the text says how.
    Damaged(String),
}

/// The kinds of the user's own files.
const OWN: [&str; 3] = ["folder", "npy", "csv"];

impl Catalog {
    /// A catalogue of these manifests; files are kept in `cache`, in a folder for each set.
    ///
    /// # Errors
    /// When two data sets have the same name.
    pub fn new(mut manifests: Vec<Manifest>, cache: impl Into<PathBuf>) -> Result<Self> {
        manifests.sort_by(|a, b| a.name.cmp(&b.name));
        let twice = manifests.windows(2).find(|pair| pair[0].name == pair[1].name).map(|pair| &pair[0].name);
        let points = PointSet::ALL.map(PointSet::name);
        let taken = manifests.iter().map(|manifest| &manifest.name).find(|name| points.contains(&name.as_str()));
        if let Some(name) = twice.or(taken) {
            return Err(Error::invalid(format!("two data sets are called `{name}`")));
        }
        Ok(Catalog { manifests, bundled: BTreeMap::new(), cache: cache.into() })
    }

    /// Adds a file that the program carries, for sources of kind `bundled`.
    #[must_use]
    pub fn bundle(mut self, path: impl Into<String>, content: impl Into<Cow<'static, [u8]>>) -> Self {
        self.bundled.insert(path.into(), content.into());
        self
    }

    /// The default folder of the cache: `$GEN_DATA`, else `gen-models/datasets` in `$XDG_CACHE_HOME` if that is an
    /// absolute path, else in `~/.cache`.
    ///
    /// # Errors
    /// When the user has no home folder.
    pub fn default_cache() -> Result<PathBuf> {
        if let Some(folder) = env::var_os("GEN_DATA").filter(|folder| !folder.is_empty()) {
            return Ok(folder.into());
        }
        let xdg =
            Xdg::new().map_err(|error| Error::invalid(format!("{error}: set GEN_DATA to a folder for data sets")))?;
        Ok(xdg.cache_dir().join("gen-models").join("datasets"))
    }

    /// The manifests, sorted by name.
    pub fn manifests(&self) -> &[Manifest] {
        &self.manifests
    }

    /// The manifest of this name.
    ///
    /// # Errors
    /// When there is none; the nearest is suggested.
    pub fn manifest(&self, name: &str) -> Result<&Manifest> {
        let found = self.manifests.iter().find(|manifest| manifest.name == name);
        found.ok_or_else(|| self.unknown(name))
    }

    /// The folder in the cache for the files of a set.
    pub fn folder(&self, manifest: &Manifest) -> PathBuf {
        self.cache.join(&manifest.name)
    }

    /// Whether the program carries all files of a set.
    pub fn is_bundled(&self, manifest: &Manifest) -> bool {
        manifest.files.iter().all(|file| self.bundled(file).is_some())
    }

    /// Whether all files of a set are present, by their sizes alone.
    pub fn is_present(&self, manifest: &Manifest) -> bool {
        let folder = self.folder(manifest);
        manifest.files.iter().all(|file| {
            let size = || fs::metadata(folder.join(&file.name)).map(|metadata| metadata.len());
            self.bundled(file).is_some() || size().is_ok_and(|size| size == file.size)
        })
    }

    /// Reads each file of a set and compares its SHA-256 with the manifest.
    pub fn verify<'m>(&self, manifest: &'m Manifest) -> Vec<(&'m DataFile, FileState)> {
        manifest.files.iter().map(|file| (file, self.state(manifest, file))).collect()
    }

    fn state(&self, manifest: &Manifest, file: &DataFile) -> FileState {
        if self.bundled(file).is_some() {
            return match self.read(manifest, file) {
                Ok(_) => FileState::Bundled,
                Err(error) => FileState::Damaged(error.to_string()),
            };
        }
        match self.read(manifest, file) {
            Ok(_) => FileState::Good,
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => FileState::Absent,
            Err(error) => FileState::Damaged(error.to_string()),
        }
    }

    /// Fetches the files of a set that are absent or damaged.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no source has a file, [`Error::Io`] when the cache cannot be written. A failure
    /// leaves nothing behind.
    pub fn fetch(&self, manifest: &Manifest, on_event: &mut OnFetch<'_>) -> Result<()> {
        let states = self.verify(manifest).into_iter();
        let wanted: Vec<&DataFile> = states
            .filter(|(_, state)| matches!(state, FileState::Absent | FileState::Damaged(_)))
            .map(|(file, _)| file)
            .collect();
        self.fetch_files(manifest, &wanted, on_event)
    }

    fn fetch_files(&self, manifest: &Manifest, files: &[&DataFile], on_event: &mut OnFetch<'_>) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        fetch::fetch(&self.folder(manifest), files, on_event)
    }

    /// Loads a data set by name: one of a manifest, whose missing files are fetched; a point set; or the user's own
    /// files as `folder:<path>`, `npy:<path>` or `csv:<path>`.
    ///
    /// Options follow the path. `folder:<path>?size=32` sets the side of the images, see [`folder::read`].
    /// `csv:<path>?columns=a,b&header=no&decimal=comma` says how to read a table, see [`csv::CsvOptions`].
    /// `context=a,b`, for a table in CSV or NumPy form, sets these columns apart: models learn the others given these.
    /// `dequantise=a,b`, for a table in CSV or NumPy form, adds uniform noise of one step to these columns whenever a
    /// model sees them, see [`DataSpec::grids`](gen_core::data::DataSpec::grids). The user's rows are shuffled, always
    /// in the same order, and divided 80/10/10 into training, validation and test.
    ///
    /// # Errors
    /// When the name is unknown, a file cannot be fetched, or a file has the wrong content.
    pub fn load(&self, name: &str, on_event: &mut OnFetch<'_>) -> Result<Loaded> {
        match name.split_once(':') {
            Some((kind, "")) if OWN.contains(&kind) => {
                Err(Error::invalid(format!("`{name}` lacks a path: {kind}:PATH")))
            }
            Some(("folder", path)) => own_folder(name, path),
            Some(("npy", path)) => own_array(name, path),
            Some(("csv", path)) => own_table(name, path),
            Some((kind, _)) => Err(Error::unknown("kind of data", kind, OWN)),
            None => {
                let data = match PointSet::named(name) {
                    Ok(set) => set.dataset()?,
                    Err(_) => self.load_manifest(self.manifest(name)?, on_event)?,
                };
                Ok(Loaded { data, warnings: Vec::new() })
            }
        }
    }

    fn load_manifest(&self, manifest: &Manifest, on_event: &mut OnFetch<'_>) -> Result<Dataset> {
        let folder = self.folder(manifest);
        let is_absent = |file: &&DataFile| self.bundled(file).is_none() && !folder.join(&file.name).exists();
        let absent: Vec<&DataFile> = manifest.files.iter().filter(is_absent).collect();
        self.fetch_files(manifest, &absent, on_event)?;
        let (train, test) = match manifest.format {
            Format::Idx => (
                self.read_idx(manifest, Role::TrainImages, Role::TrainLabels)?,
                self.read_idx(manifest, Role::TestImages, Role::TestLabels)?,
            ),
            Format::Cifar10 => {
                let file = require(manifest, Role::Archive)?;
                cifar::read(&self.read(manifest, file)?[..], &folder.join(&file.name))?
            }
        };
        check_rows(manifest, &train, manifest.splits.train + manifest.splits.validation)?;
        check_rows(manifest, &test, manifest.splits.test)?;
        let validation = train.narrow(manifest.splits.train, manifest.splits.validation);
        let train = train.narrow(0, manifest.splits.train);
        let classes = manifest.classes.clone();
        let mut data = Dataset::from_splits(&manifest.name, train, Some(validation), Some(test), classes)?;
        data.spec.sha256 = sha256_of_list(manifest.files.iter().map(|file| (file.name.as_str(), file.sha256.as_str())));
        Ok(data)
    }

    fn read_idx(&self, manifest: &Manifest, images: Role, labels: Role) -> Result<Split> {
        let folder = self.folder(manifest);
        let content = |role| {
            let file = require(manifest, role)?;
            Ok::<_, Error>((self.read(manifest, file)?, folder.join(&file.name)))
        };
        let decompressed = |bytes, path: &Path| fetch::decompressed(bytes, "").map_err(Error::io(path));
        let (bytes, path) = content(images)?;
        let x = idx::images(&mut *decompressed(&bytes[..], &path)?, &path)?;
        let (bytes, path) = content(labels)?;
        let labels = idx::labels(&mut *decompressed(&bytes[..], &path)?, &path)?;
        Ok(Split::labelled(x, labels))
    }

    /// The content of a file in the cache or in the program, with its checksum verified.
    fn read(&self, manifest: &Manifest, file: &DataFile) -> Result<Vec<u8>> {
        match self.bundled(file) {
            Some(bytes) => fetch::read_bundled(bytes, file),
            None => fetch::read_checked(&self.folder(manifest), file),
        }
    }

    fn bundled(&self, file: &DataFile) -> Option<&[u8]> {
        file.sources.iter().find_map(|source| match source {
            Source::Bundled { path } => self.bundled.get(path).map(|content| &content[..]),
            _ => None,
        })
    }

    fn unknown(&self, name: &str) -> Error {
        let known = self.manifests.iter().map(|manifest| manifest.name.as_str());
        Error::unknown("data set", name, known.chain(PointSet::ALL.map(PointSet::name)))
    }
}

fn require(manifest: &Manifest, role: Role) -> Result<&DataFile> {
    let file = manifest.file(role);
    file.ok_or_else(|| Error::invalid(format!("the manifest of `{}` has no {role:?}", manifest.name)))
}

fn check_rows(manifest: &Manifest, rows: &Split, expected: usize) -> Result<()> {
    let labels = rows.labels();
    let label_count = labels.map_or(0, |labels| labels.size()[0]);
    let shape = manifest.shape.batch(expected as i64);
    if rows.x.size() != shape || label_count != expected as i64 {
        return Err(Error::invalid(format!(
            "the files of `{}` hold images {:?} and {label_count} labels, its manifest says {shape:?}",
            manifest.name,
            rows.x.size()
        )));
    }
    let largest = labels.map_or(0, |labels| labels.max().int64_value(&[]));
    if largest >= manifest.classes.len() as i64 {
        let classes = manifest.classes.len();
        return Err(Error::invalid(format!("`{}` has a label {largest}, but {classes} classes", manifest.name)));
    }
    Ok(())
}

fn own_folder(name: &str, location: &str) -> Result<Loaded> {
    let place = Location::parse("option of a folder", location, &["size"])?;
    let read = folder::read(&place.path, place.size()?)?;
    let rows = Rows::of_images(read.rows, read.classes);
    own::load(name, rows, read.sha256, read.warnings, &[])
}

fn own_array(name: &str, location: &str) -> Result<Loaded> {
    let place = Location::parse("option of an array", location, &["context", "dequantise"])?;
    let bytes = fs::read(&place.path).map_err(Error::io(&place.path))?;
    let x = npy::parse(&bytes, &place.path)?;
    let in_file = |row: usize, column: usize| format!("row {}, column {} (x[{row}, {column}])", row + 1, column + 1);
    let table = own::Table { x, names: Vec::new(), path: place.path.clone(), describe: Box::new(in_file) };
    let rows = table.rows(&place.list("context")?, false)?;
    own::load(name, rows, sha256(&bytes), Vec::new(), &place.list("dequantise")?)
}

fn own_table(name: &str, location: &str) -> Result<Loaded> {
    let known = ["columns", "context", "header", "decimal", "dequantise"];
    let place = Location::parse("option of a table", location, &known)?;
    let bytes = fs::read(&place.path).map_err(Error::io(&place.path))?;
    let (mut options, context) = (place.csv()?, place.list("context")?);
    let are_last = !options.columns.is_empty();
    if are_last {
        options.columns.extend(context.iter().cloned());
    }
    let csv::Table { x, names, lines, warnings } = csv::parse(&bytes, &place.path, &options)?;
    let called = names.clone();
    let in_file = move |row: usize, column: usize| match called.get(column) {
        Some(name) => format!("line {}, column {} (`{name}`)", lines[row], column + 1),
        None => format!("line {}, column {}", lines[row], column + 1),
    };
    let table = own::Table { x, names, path: place.path.clone(), describe: Box::new(in_file) };
    let rows = table.rows(&context, are_last)?;
    own::load(name, rows, sha256(&bytes), warnings, &place.list("dequantise")?)
}

#[cfg(test)]
mod tests;
