//! A user's own rows as a data set: checked, shuffled and divided.

use std::path::PathBuf;

use tch::{Kind, Tensor};

use gen_core::data::{DataSpec, Dataset, Grid, Place, Split, not_finite};
use gen_core::number::plain;
use gen_core::rng::{Purpose, permutation};
use gen_core::{Error, Result};

use crate::loaded::Loaded;
use crate::words::list;

/// The place of a value in its file, for messages, from its row and column counted from 0.
type InFile = Box<dyn Fn(usize, usize) -> String>;

/// The rows of a file.
pub(super) struct Rows {
    pub(super) split: Split,
    pub(super) classes: Vec<String>,
    /// The names of the columns of a table.
    pub(super) columns: Vec<String>,
    /// The file of a table.
    pub(super) place: Option<(PathBuf, InFile)>,
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
    if let (Some((path, in_file)), Some(Place { row, column, value })) = (&rows.place, not_finite(&rows.split.x)?) {
        return Err(Error::format(path, format!("{}: {value} is not a finite number", in_file(row, column))));
    }
    let n = rows.split.len();
    let tenth = n / 10;
    let order = permutation(n, 0, Purpose::Data, 0);
    let (train, rest) = order.split_at(n - 2 * tenth);
    let (validation, test) = rest.split_at(tenth);
    let part = |indices| rows.split.select(indices);
    let mut data = Dataset::from_splits(name, part(train), Some(part(validation)), Some(part(test)), rows.classes)?;
    data.spec.sha256 = sha256;
    data.spec.columns = rows.columns;
    if tenth == 0 {
        warnings.push(format!("`{name}` has {n} rows: fewer than 10 leave none for validation and test"));
    }
    if !data.spec.shape.is_image() {
        warnings.extend(constant(&data));
        if let Some((path, in_file)) = &rows.place {
            for (part, split, rows) in [("validation", &data.validation, validation), ("test", &data.test, test)] {
                let found = far(&data.spec, split, &|row, column| in_file(rows[row] as usize, column));
                let found = found.map_err(|problem| Error::format(path, problem))?;
                let told = |what: String| {
                    format!(
                        "{}: {what}; it is in a {part} row, and dominates their mean loss: is the value correct?",
                        path.display()
                    )
                };
                warnings.extend(found.map(told));
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

/// The value of `split` that is furthest from the mean of the training rows, if it is [`FAR`].
///
/// # Errors
/// When it is [`TOO_FAR`].
fn far(spec: &DataSpec, split: &Split, in_file: &dyn Fn(usize, usize) -> String) -> Result<Option<String>, String> {
    if split.is_empty() {
        return Ok(None);
    }
    let (mean, std) = (Tensor::from_slice(&spec.mean), Tensor::from_slice(&spec.std));
    // The distance in a constant column is in the units of the file.
    let distance = ((&split.x - mean) / (&std + std.eq(0.0))).abs();
    let columns = split.x.size()[1];
    let place = distance.reshape([-1]).argmax(0, false).int64_value(&[]);
    let (row, column) = (place / columns, place % columns);
    let furthest = distance.double_value(&[row, column]);
    if furthest <= FAR {
        return Ok(None);
    }
    let what = format!(
        "{}: {} is {furthest:.0e} standard deviations from the mean of the training rows",
        in_file(row as usize, column as usize),
        plain(split.x.double_value(&[row, column])),
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
        let by_name = spec.columns.iter().position(|column| column == name);
        let by_number = name.parse::<usize>().ok().filter(|number| (1..=grids.len()).contains(number));
        let column = by_name.or(by_number.map(|number| number - 1)).ok_or_else(|| match spec.columns.is_empty() {
            true => Error::invalid(format!(
                "`dequantise`: there is no column `{name}`; the columns are numbered from 1 to {}",
                grids.len()
            )),
            false => Error::unknown("column", name, spec.columns.iter().map(String::as_str)),
        })?;
        grids[column] = Grid::of(&data.train.x, column)?.ok_or_else(|| {
            Error::invalid(format!(
                "`dequantise`: the values of {} are not equally spaced, so there is no step for the noise",
                spec.column(column)
            ))
        })?;
    }
    Ok(grids)
}
