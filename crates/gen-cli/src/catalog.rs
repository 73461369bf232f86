//! The data sets that the program knows: the manifests of `datasets/`, compiled in.

use std::path::Path;

use anyhow::Context;
use gen_core::data::{Catalog, DataFile, Dataset, FetchEvent, Manifest};
use include_dir::{Dir, DirEntry, include_dir};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

static DATASETS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../datasets");

/// The catalogue; files are kept in `$GEN_DATA` or the user's cache.
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

/// The data set of this name, fetched if it is not there yet; warnings go to standard error.
pub(crate) fn load(name: &str) -> anyhow::Result<Dataset> {
    let mut bar = FetchBar::default();
    let loaded = open()?.load(name, &mut |event| bar.show(event))?;
    for warning in loaded.warnings {
        crate::eprint(&format!("warning: {warning}"));
    }
    Ok(loaded.data)
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// A bar for each file on a terminal; elsewhere a line for each.
#[derive(Default)]
pub(crate) struct FetchBar {
    bar: Option<ProgressBar>,
}

impl FetchBar {
    pub(crate) fn show(&mut self, event: &FetchEvent<'_>) {
        match event {
            FetchEvent::Started { file, source } => {
                self.finish();
                self.bar = Some(bar(file, &source.to_string()));
            }
            FetchEvent::Received { received, total, .. } => {
                if let Some(bar) = &self.bar {
                    if let Some(total) = total {
                        bar.set_length(*total);
                    }
                    bar.set_position(*received);
                }
            }
            FetchEvent::Failed { file, source, reason } => {
                self.finish();
                crate::eprint(&format!("{}: not from {source}: {reason}", file.name));
            }
            FetchEvent::Stored { file } => {
                self.finish();
                crate::eprint(&format!("{}: {}", file.name, HumanBytes(file.size)));
            }
            _ => {}
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn bar(file: &DataFile, source: &str) -> ProgressBar {
    let bar = ProgressBar::no_length();
    let template = "{bar:30.cyan/dim} {bytes:>10} of {total_bytes}  {bytes_per_sec}  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(format!("{} from {source}", file.name));
    bar.enable_steady_tick(std::time::Duration::from_millis(250));
    bar
}
