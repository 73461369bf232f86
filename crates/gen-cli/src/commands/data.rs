use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use clap::Subcommand;
use gen_core::data::{PointSet, Shape, Splits, bytes_to_signed};
use gen_data::{Catalog, FileState, Manifest};

use crate::catalog::{self, FetchBar};
use crate::{arguments, output, pictures};
use gen_report::aligned;

/// Help on the user's own files.
const OWN_FILES: &str = "\
Every option that takes a data set also takes your own files:
  folder:PATH   pictures, whose folders name their classes; ?size=32 makes them 32x32
  npy:PATH      an array of uint8 images [n, height, width (, 1 or 3)] or of points [n, columns]
  csv:PATH      a table of numbers; its options, separated by &:
                ?columns=a,b     use these columns, given by name or by number from 1
                ?header=yes|no   whether the first line holds the names
                ?decimal=comma   1,5 means 1.5 (or point)
  npy: and csv: ?dequantise=a,b  add uniform noise of one step to these discrete columns

Rows are shuffled, always in the same order, and divided 80/10/10 into training, validation and test.";

/// List, fetch, verify and preview data sets
#[derive(clap::Args)]
#[command(after_help = OWN_FILES)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the data sets
    List,
    /// Fetch the files of a data set that are missing
    Fetch {
        /// The data set; `gen data list` shows them
        name: String,
    },
    /// Compare the files of a data set with their checksums
    Verify {
        /// The data set
        name: String,
    },
    /// Save a picture of the first training images, or a scatter plot of points
    Preview {
        /// The data set: a name, folder:PATH, npy:PATH or csv:PATH
        name: String,
        /// The picture: a .png, .jpg, .webp or .gif
        #[arg(long)]
        out: PathBuf,
        /// The number of rows [default: 64 images or 20000 points]
        #[arg(short, value_parser = arguments::count)]
        n: Option<usize>,
        /// Images in a row
        #[arg(long, default_value = "8", value_parser = arguments::count)]
        columns: usize,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.action {
        Action::List => list(),
        Action::Fetch { name } => fetch(name),
        Action::Verify { name } => verify(name),
        Action::Preview { name, out, n, columns } => preview(name, out.clone(), *n, *columns),
    }
}

fn list() -> anyhow::Result<()> {
    let catalog = catalog::open()?;
    let header = ["name", "shape", "train", "validation", "test", "classes", "licence", "here"];
    let mut rows = vec![header.map(str::to_owned)];
    for manifest in catalog.manifests() {
        let here = match (catalog.is_bundled(manifest), catalog.is_present(manifest)) {
            (true, _) => "built in",
            (false, true) => "yes",
            (false, false) => "no",
        };
        let classes = manifest.classes.len().to_string();
        rows.push(row(&manifest.name, &manifest.shape, &manifest.splits, &classes, &manifest.licence, here));
    }
    for set in PointSet::ALL {
        let shape = Shape::Points { dimension: 2 };
        rows.push(row(set.name(), &shape, &PointSet::SPLITS, "", "", "by formula"));
    }
    Ok(std::io::stdout().lock().write_all(aligned(rows, |column| (2..6).contains(&column)).as_bytes())?)
}

fn row(name: &str, shape: &Shape, splits: &Splits, classes: &str, licence: &str, here: &str) -> [String; 8] {
    let shape = match shape {
        Shape::Image { channels, height, width } => format!("{height}x{width}x{channels}"),
        Shape::Points { dimension } => format!("{dimension}-D points"),
    };
    let Splits { train, validation, test } = splits;
    let [train, validation, test] = [train, validation, test].map(usize::to_string);
    [name.to_owned(), shape, train, validation, test, classes.to_owned(), licence.to_owned(), here.to_owned()]
}

fn fetch(name: &str) -> anyhow::Result<()> {
    let catalog = catalog::open()?;
    let Some(manifest) = with_files(&catalog, name)? else {
        return say(format_args!("{name}: part of the program, there is nothing to fetch"));
    };
    let mut bar = FetchBar::default();
    catalog.fetch(manifest, &mut |event| bar.show(event))?;
    say(format_args!("{name}: {} files in {}", manifest.files.len(), catalog.folder(manifest).display()))
}

fn verify(name: &str) -> anyhow::Result<()> {
    let catalog = catalog::open()?;
    if PointSet::named(name).is_ok() {
        return say(format_args!("{name}: made by formula, there is nothing to verify"));
    }
    let manifest = catalog.manifest(name)?;
    let mut wrong = 0;
    for (file, state) in catalog.verify(manifest) {
        let line = match &state {
            FileState::Good | FileState::Bundled => "good".to_owned(),
            FileState::Absent => "absent".to_owned(),
            FileState::Damaged(how) => format!("damaged: {how}"),
        };
        wrong += usize::from(!matches!(state, FileState::Good | FileState::Bundled));
        say(format_args!("{}  {}  {line}", file.sha256, file.name))?;
    }
    if wrong > 0 {
        bail!(
            "{wrong} of {} files of `{name}` are missing or damaged: `gen data fetch {name}` gets them",
            manifest.files.len()
        );
    }
    Ok(())
}

/// The manifest of a data set whose files are not part of the program.
fn with_files<'c>(catalog: &'c Catalog, name: &str) -> anyhow::Result<Option<&'c Manifest>> {
    if PointSet::named(name).is_ok() {
        return Ok(None);
    }
    let manifest = catalog.manifest(name)?;
    Ok((!catalog.is_bundled(manifest)).then_some(manifest))
}

fn preview(name: &str, out: PathBuf, n: Option<usize>, columns: usize) -> anyhow::Result<()> {
    output::kind(&out, &output::PICTURES)?;
    let data = catalog::load(name)?;
    let default = if data.spec.shape.is_image() { 64 } else { 20_000 };
    let n = n.unwrap_or(default).min(data.train.len());
    let rows = data.train.narrow(0, n);
    let x = if data.spec.shape.is_image() { bytes_to_signed(&rows.x) } else { rows.x };
    pictures::save_samples(name, &[("training rows", &x)], &out, columns)?;
    say(format_args!("{}: {n} of {} training rows of {name}", out.display(), data.train.len()))
}

/// Prints a line on standard output.
fn say(line: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
