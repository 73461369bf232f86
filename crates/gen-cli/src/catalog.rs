//! The data sets that the program knows: the manifests of `datasets/`, compiled in.

use std::path::Path;

use anyhow::Context;
use gen_core::data::{Dataset, PointSet, Shape};
use gen_core::number::plain;
use gen_data::{Catalog, FetchEvent, Manifest};
use include_dir::{Dir, DirEntry, include_dir};
use indicatif::{HumanBytes, ProgressBar};

use crate::message;
use crate::progress::{self, Work, can_draw_bars};

static DATASETS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../datasets");

/// The catalogue of data sets. Fetched files are kept in `$GEN_DATA`, or in the user's cache.
pub(crate) fn open() -> anyhow::Result<Catalog> {
    let mut manifests = Vec::new();
    for file in DATASETS.files().filter(|file| has_extension(file.path(), "toml")) {
        let text = file.contents_utf8().with_context(|| format!("{} is not text", file.path().display()))?;
        manifests.push(Manifest::parse(text, file.path())?);
    }
    let catalog = Catalog::new(manifests, Catalog::default_cache()?)?;
    let inner = DATASETS.dirs().flat_map(|folder| folder.entries()).filter_map(DirEntry::as_file);
    Ok(inner.fold(catalog, |catalog, file| {
        catalog.bundle(file.path().to_string_lossy().replace('\\', "/"), file.contents())
    }))
}

/// The prefixes of names of the user's own files: `folder:PATH`.
const OWN: [&str; 3] = ["folder:", "npy:", "csv:"];

/// Whether a name stands for files of the user's own.
pub(crate) fn is_own(name: &str) -> bool {
    OWN.iter().any(|kind| name.starts_with(kind))
}

/// The name by which a data set is found from every folder: the user's own files get a full path.
pub(crate) fn full_name(name: &str) -> anyhow::Result<String> {
    match name.split_once(':') {
        Some((kind, path)) if is_own(name) && !path.is_empty() => {
            // The shell expands `~` only at the beginning of a word.
            let home = std::env::var("HOME").ok().filter(|_| !Path::new(path).exists());
            let path = match (path.strip_prefix("~/"), home) {
                (Some(rest), Some(home)) => format!("{home}/{rest}"),
                _ => path.to_owned(),
            };
            let full = std::path::absolute(&path).with_context(|| path.clone())?;
            Ok(format!("{kind}:{}", full.display()))
        }
        _ => Ok(name.to_owned()),
    }
}

/// The data set of this name, fetched if it is missing. Warnings go to standard error.
pub(crate) fn load(name: &str) -> anyhow::Result<Dataset> {
    let name = full_name(name)?;
    let work = is_own(&name).then(|| Work::on(format!("reading {name}")));
    let mut bar = FetchBar::default();
    let loaded = open()?.load(&name, &mut |event| bar.show(event))?;
    drop(work);
    for warning in loaded.warnings {
        message::warn(warning);
    }
    Ok(loaded.data)
}

/// The shape of a data set, of a named one without its files.
pub(crate) fn shape(name: &str) -> anyhow::Result<Shape> {
    if is_own(name) || PointSet::named(name).is_ok() {
        return Ok(load(name)?.spec.shape);
    }
    Ok(open()?.manifest(name)?.shape)
}

/// Tells the user how to read likelihoods of this data: those of dequantised columns are of values with noise, and
/// those of discrete columns have no upper bound.
pub(crate) fn tell_of_discrete_columns(data: &Dataset) -> anyhow::Result<()> {
    let spec = &data.spec;
    let spread: Vec<String> = (0..)
        .zip(&spec.grids)
        .filter(|(_, grid)| grid.step > 0.0)
        .map(|(column, grid)| format!("{} by {}", spec.column(column), plain(grid.step)))
        .collect();
    if !spread.is_empty() {
        message::tell(format!(
            "likelihoods are those of dequantised values: uniform noise is added to {}",
            spread.join(", ")
        ));
    }
    // Data sets that are made by formula have no files and no discrete columns.
    if spec.sha256.is_empty() {
        return Ok(());
    }
    let discrete = data.discrete_columns()?;
    let percent = |share: f64| (100.0 * share).round();
    let described: Vec<String> = discrete
        .iter()
        .map(|found| match found.grid {
            Some(grid) => {
                format!("{}, {} values {} apart", spec.column(found.column), found.distinct, plain(grid.step))
            }
            None => format!(
                "{}, {} in {} % of the rows",
                spec.column(found.column),
                plain(found.commonest),
                percent(found.share)
            ),
        })
        .collect();
    if !described.is_empty() {
        let advice = match discrete.iter().any(|found| found.grid.is_some()) {
            true => {
                "; --set dequantise=true (or ?dequantise= with the names of columns) adds uniform noise of one step \
                 where values are equally spaced"
            }
            false => "",
        };
        message::warn(format!(
            "`{}` has columns that are not continuous: {}: their density has no upper bound, so likelihoods of this \
             data mean little, even `exact` ones{advice}",
            spec.name,
            described.join("; ")
        ));
    }
    Ok(())
}

/// The data set that a run was trained on, by the name that it has recorded.
pub(crate) fn load_of_run(name: &str, run: &Path) -> anyhow::Result<Dataset> {
    load(name).map_err(|error| match is_own(name) {
        true => error.context(format!(
            "the data of the run in {} are not where they were: give their new place with --data",
            run.display()
        )),
        false => error,
    })
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// The progress of a download: on a terminal a bar for each file, elsewhere lines from time to time.
#[derive(Default)]
pub(crate) struct FetchBar {
    bar: Option<ProgressBar>,
    work: Option<Work>,
}

impl FetchBar {
    pub(crate) fn show(&mut self, event: &FetchEvent<'_>) {
        match event {
            FetchEvent::Started { file, source } => {
                self.finish();
                match can_draw_bars() {
                    true => {
                        let bar = progress::bar(None, SPINNER);
                        bar.set_message(format!("{} from {source}", file.name));
                        self.bar = Some(bar);
                    }
                    false => self.work = Some(Work::on(format!("{} from {source}", file.name))),
                }
            }
            FetchEvent::Received { file, received, total } => {
                if let Some(work) = &self.work {
                    let total = total.map(|total| format!(" of {}", HumanBytes(total))).unwrap_or_default();
                    work.describe(format!("{}: {}{total}", file.name, HumanBytes(*received)));
                }
                if let Some(bar) = &self.bar {
                    if let (Some(total), true) = (total, bar.length() != *total) {
                        bar.set_style(progress::style(BAR));
                        bar.set_length(*total);
                    }
                    bar.set_position(*received);
                }
            }
            FetchEvent::Failed { file, source, reason } => {
                self.finish();
                message::tell(format!("{}: {source}: {reason}", file.name));
            }
            FetchEvent::Stored { file } => {
                self.finish();
                message::tell(format!("{}: stored, {}", file.name, HumanBytes(file.size)));
            }
            _ => {}
        }
    }

    fn finish(&mut self) {
        self.work = None;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

const BAR: &str = "{bar:30.cyan/dim} {bytes:>10} of {total_bytes}  {bytes_per_sec}  {wide_msg}";
/// For sources that do not tell the size of a file.
const SPINNER: &str = "{spinner} {bytes:>10}  {wide_msg}";
