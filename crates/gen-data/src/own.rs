//! A user's own rows as a data set: checked, shuffled and divided.

use std::path::PathBuf;

use tch::{Kind, Tensor};

use gen_core::data::{Condition, ContextColumn, DataSpec, Dataset, Grid, Place, Split, not_finite};
use gen_core::number::plain;
use gen_core::rng::{Purpose, permutation};
use gen_core::{Error, Result};

use crate::loaded::Loaded;
use crate::words::list;

/// The rows of a file.
pub(super) struct Rows {
    pub(super) split: Split,
    pub(super) classes: Vec<String>,
    /// The names of the columns of a table.
    pub(super) columns: Vec<String>,
    /// The names of the columns that rows are given.
    pub(super) context: Vec<String>,
    /// The file of a table.
    pub(super) place: Option<InFile>,
}

impl Rows {
    /// Images, with classes or without.
    pub(super) fn of_images(split: Split, classes: Vec<String>) -> Self {
        Rows { split, classes, columns: Vec::new(), context: Vec::new(), place: None }
    }
}

/// The place of a value in its file, for messages, from its row and column counted from 0.
type Describe = Box<dyn Fn(usize, usize) -> String>;

/// Where the values of a table are in their file.
pub(super) struct InFile {
    path: PathBuf,
    describe: Describe,
    /// The columns of the data.
    columns: Vec<usize>,
    /// The columns that rows are given.
    context: Vec<usize>,
}

/// A table as it is in its file.
pub(super) struct Table {
    pub(super) x: Tensor,
    /// The names of its columns, empty where they have none.
    pub(super) names: Vec<String>,
    pub(super) path: PathBuf,
    pub(super) describe: Describe,
}

impl Table {
    /// The rows of the table, with the columns `context` set apart as what they are given. `are_last` says that these
    /// are the last columns of the table; otherwise they are found by name, or by number counted from 1.
    ///
    /// # Errors
    /// When a column is not there or is named twice, no column is left, or a value is not finite.
    pub(super) fn rows(self, context: &[String], are_last: bool) -> Result<Rows> {
        let Table { x, names, path, describe } = self;
        if let Some(Place { row, column, value }) = not_finite(&x)? {
            let problem = format!("{}: {value} is not a finite number", describe(row, column));
            return Err(Error::format(&path, problem));
        }
        if context.is_empty() {
            let columns = (0..names.len()).collect();
            let place = Some(InFile { path, describe, columns, context: Vec::new() });
            let split = Split::unlabelled(x);
            return Ok(Rows { split, classes: Vec::new(), columns: names, context: Vec::new(), place });
        }
        if x.dim() != 2 {
            return Err(Error::invalid("`context` is for tables, `[n, columns]`"));
        }
        let count = x.size()[1] as usize;
        let given: Vec<usize> = match are_last {
            true => (count - context.len()..count).collect(),
            false => context.iter().map(|name| column("context", name, &names, count)).collect::<Result<_>>()?,
        };
        if let Some(i) = (1..given.len()).find(|i| given[..*i].contains(&given[*i])) {
            return Err(Error::invalid(format!("`context` has the column `{}` twice", context[i])));
        }
        let kept: Vec<usize> = (0..count).filter(|column| !given.contains(column)).collect();
        if kept.is_empty() {
            return Err(Error::invalid("`context` leaves no column to learn"));
        }
        let take = |columns: &[usize]| {
            let index: Vec<i64> = columns.iter().map(|column| *column as i64).collect();
            x.index_select(1, &Tensor::from_slice(&index))
        };
        let named = |columns: &[usize]| columns.iter().filter_map(|column| names.get(*column).cloned()).collect();
        // A column without a name is called by its number.
        let context_names = match names.is_empty() {
            true => given.iter().map(|column| (column + 1).to_string()).collect(),
            false => named(&given),
        };
        Ok(Rows {
            split: Split { x: take(&kept), condition: Condition::of_context(take(&given)) },
            classes: Vec::new(),
            columns: named(&kept),
            context: context_names,
            place: Some(InFile { path, describe, columns: kept, context: given }),
        })
    }
}

/// The place of a column of `count` that has this name, or this number counted from 1.
fn column(key: &str, name: &str, names: &[String], count: usize) -> Result<usize> {
    let by_name = names.iter().position(|column| column == name);
    let by_number = || name.parse::<usize>().ok().filter(|number| (1..=count).contains(number));
    by_name.or_else(|| by_number().map(|number| number - 1)).ok_or_else(|| match names.is_empty() {
        true => {
            Error::invalid(format!("`{key}`: there is no column `{name}`; the columns are numbered from 1 to {count}"))
        }
        false => Error::unknown("column", name, names.iter().map(String::as_str)),
    })
}

/// A held-out value this many standard deviations from the mean of the training rows dominates the mean loss.
const FAR: f64 = 1e3;
/// Beyond this many standard deviations, a few layers and a square overflow the single precision of networks.
const TOO_FAR: f64 = 1e9;

/// The data set of `rows`, shuffled by a fixed seed and divided 80/10/10, with noise on the columns of `dequantise`.
///
/// # Errors
/// When a value is not finite, or a validation or test row has a value too far from the training rows for any model.
/// The message names it.
pub(super) fn load(
    name: &str,
    rows: Rows,
    sha256: String,
    mut warnings: Vec<String>,
    dequantise: &[String],
) -> Result<Loaded> {
    let n = rows.split.len();
    let tenth = n / 10;
    let order = permutation(n, 0, Purpose::Data, 0);
    let (train, rest) = order.split_at(n - 2 * tenth);
    let (validation, test) = rest.split_at(tenth);
    let part = |indices| rows.split.select(indices);
    let mut data = Dataset::from_splits(name, part(train), Some(part(validation)), Some(part(test)), rows.classes)?;
    data.spec.sha256 = sha256;
    data.spec.columns = rows.columns;
    let mut data = data.with_context_names(&rows.context)?;
    if tenth == 0 {
        warnings.push(format!("`{name}` has {n} rows: fewer than 10 leave none for validation and test"));
    }
    if !data.spec.shape.is_image() {
        warnings.extend(constant(&data));
        if let Some(file) = &rows.place {
            for (part, split, rows) in [("validation", &data.validation, validation), ("test", &data.test, test)] {
                warnings.extend(file.far(part, &data.spec, split, rows)?);
            }
        }
        if !dequantise.is_empty() {
            let grids = grids(&data, dequantise)?;
            data.spec.spread_over(grids);
        }
    }
    Ok(Loaded { data, warnings })
}

fn constant(data: &Dataset) -> Option<String> {
    let constant: Vec<String> = (0..data.spec.std.len())
        .filter(|column| data.spec.std[*column] == 0.0)
        .map(|column| data.spec.column(column))
        .collect();
    (!constant.is_empty()).then(|| {
        format!(
            "`{}` has one value in all training rows of {}: there is no density along it, and likelihoods mean \
             nothing; leave it out",
            data.spec.name,
            list(&constant)
        )
    })
}

impl InFile {
    /// A warning for the data and for the context of `split`, whose rows are `rows` of the file, if a value is [`FAR`]
    /// from the training rows.
    ///
    /// # Errors
    /// When one is [`TOO_FAR`].
    fn far(&self, part: &str, spec: &DataSpec, split: &Split, rows: &[i64]) -> Result<Vec<String>> {
        let InFile { path, describe, columns, context } = self;
        let of_context = |f: fn(&ContextColumn) -> f64| spec.context.iter().map(f).collect::<Vec<_>>();
        let moments = [of_context(|column| column.mean), of_context(|column| column.std)];
        let tables = [
            (Some(&split.x), [&spec.mean, &spec.std], columns),
            (split.condition.context.as_ref(), [&moments[0], &moments[1]], context),
        ];
        let mut warnings = Vec::new();
        for (x, moments, in_file) in tables {
            let Some(x) = x else { continue };
            let place = |row: usize, column: usize| {
                describe(rows[row] as usize, in_file.get(column).copied().unwrap_or(column))
            };
            if let Some(what) = far(x, moments, &place).map_err(|problem| Error::format(path, problem))? {
                warnings.push(format!(
                    "{}: {what}; it is in a {part} row, and dominates their mean loss: is the value correct?",
                    path.display()
                ));
            }
        }
        Ok(warnings)
    }
}

/// The value of `x` that is furthest from the mean of the training rows, if it is [`FAR`].
///
/// # Errors
/// When it is [`TOO_FAR`].
fn far(
    x: &Tensor,
    moments: [&Vec<f64>; 2],
    in_file: &dyn Fn(usize, usize) -> String,
) -> Result<Option<String>, String> {
    if x.numel() == 0 {
        return Ok(None);
    }
    let [mean, std] = moments.map(|moments| Tensor::from_slice(moments));
    // The distance in a constant column is in the units of the file.
    let distance = ((x - mean) / (&std + std.eq(0.0))).abs();
    let columns = x.size()[1];
    let place = distance.reshape([-1]).argmax(0, false).int64_value(&[]);
    let (row, column) = (place / columns, place % columns);
    let furthest = distance.double_value(&[row, column]);
    if furthest <= FAR {
        return Ok(None);
    }
    let what = format!(
        "{}: {} is {furthest:.0e} standard deviations from the mean of the training rows",
        in_file(row as usize, column as usize),
        plain(x.double_value(&[row, column])),
    );
    if furthest > TOO_FAR {
        return Err(format!("{what}, too far for any model: correct it, or leave out the row"));
    }
    let rows = distance.amax([1].as_slice(), false).gt(FAR).sum(Kind::Int64).int64_value(&[]);
    let more = if rows > 1 { format!(" (the furthest in {rows} such rows)") } else { String::new() };
    Ok(Some(what + &more))
}

/// The grids of the columns to dequantise.
fn grids(data: &Dataset, dequantise: &[String]) -> Result<Vec<Grid>> {
    let spec = &data.spec;
    let mut grids = vec![Grid::default(); spec.mean.len()];
    for name in dequantise {
        let column = column("dequantise", name, &spec.columns, grids.len())?;
        grids[column] = Grid::of(&data.train.x, column)?.ok_or_else(|| {
            Error::invalid(format!(
                "`dequantise`: the values of {} are not equally spaced, so there is no step for the noise",
                spec.column(column)
            ))
        })?;
    }
    Ok(grids)
}
