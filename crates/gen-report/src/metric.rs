//! Measurements in long form: the rows of a `metrics.csv`.

use std::path::Path;

use crate::csv_file::Table;
use crate::direction::Direction;
use crate::measures::{Kind, Noise, measure};

/// The space of what needs no feature space.
pub(crate) const DATA: &str = "data";

/// What identifies a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) metric: String,
    /// A feature space, [`DATA`], or empty for costs.
    pub(crate) space: String,
    pub(crate) parameter: String,
}

impl Key {
    pub(crate) fn new(metric: &str, space: &str, parameter: &str) -> Self {
        Key { metric: metric.to_owned(), space: space.to_owned(), parameter: parameter.to_owned() }
    }

    /// Whether the number is a cost and says nothing about the samples.
    pub(crate) fn is_cost(&self) -> bool {
        self.space.is_empty() && measure(&self.metric).is_some_and(|measure| measure.kind == Kind::Cost)
    }

    /// What is known of the noise of the number, besides its standard error.
    pub(crate) fn noise(&self) -> Noise {
        measure(&self.metric).filter(|_| self.space.is_empty()).map_or(Noise::Unknown, |measure| measure.noise)
    }
}

/// A number that was measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metric {
    pub(crate) key: Key,
    /// May be infinite or NaN.
    pub(crate) value: f64,
    /// Finite.
    pub(crate) standard_error: Option<f64>,
    /// The same for training rows in place of samples.
    pub(crate) floor: Option<f64>,
    /// Test rows that it was computed from.
    pub(crate) n_real: Option<u64>,
    /// Samples that it was computed from.
    pub(crate) n_fake: Option<u64>,
    pub(crate) direction: Direction,
}

/// The rows of a `metrics.csv`.
#[derive(Debug, PartialEq)]
pub(crate) struct Metrics {
    pub(crate) rows: Vec<Metric>,
    /// Whether it has the column `higher_is_better` of earlier versions in place of `direction` and `target`.
    pub(crate) is_of_earlier_version: bool,
}

/// Reads a run's `metrics.csv`; `None` where there is no such file. An error says what is wrong with it.
pub(crate) fn read(folder: &Path) -> Result<Option<Metrics>, String> {
    let path = folder.join("metrics.csv");
    if !path.exists() {
        return Ok(None);
    }
    let table = Table::read(&path)?;
    let position = |column: &str| table.position(column).ok_or(format!("it has no column `{column}`"));
    let (metric, space, value) = (position("metric")?, position("space")?, position("value")?);
    let parameter = table.position("parameter");
    let optional = ["standard_error", "floor", "n_real", "n_fake"].map(|column| table.position(column));
    let (direction, target, earlier) =
        (table.position("direction"), table.position("target"), table.position("higher_is_better"));
    if direction.or(earlier).is_none() {
        return Err("it has no column `direction`".to_owned());
    }
    let mut rows = Vec::new();
    for row in &table.rows {
        let cell = |index: Option<usize>| index.map_or("", |index| row[index].as_str());
        let number = |index: Option<usize>| -> Result<Option<f64>, String> {
            let cell = cell(index);
            match cell.parse() {
                _ if cell.is_empty() => Ok(None),
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(format!("`{}` should have numbers, found {cell:?}", row[metric])),
            }
        };
        let finite = |index| Ok::<_, String>(number(index)?.filter(|value: &f64| value.is_finite()));
        let [standard_error, floor, n_real, n_fake] = optional.map(finite);
        let direction = match (direction, cell(earlier)) {
            (Some(_), _) => Direction::read(cell(direction), cell(target))?,
            // Earlier versions had no targets, and gave a direction to metrics that have none.
            (None, better @ ("true" | "false")) => match measure(&row[metric]) {
                Some(measure) => measure.direction(),
                None if better == "true" => Direction::Higher,
                None => Direction::Lower,
            },
            (None, other) => {
                return Err(format!("`higher_is_better` should be true or false, found {other:?}"));
            }
        };
        let Some(value) = number(Some(value))? else { continue };
        rows.push(Metric {
            key: Key::new(&row[metric], &row[space], cell(parameter)),
            value,
            standard_error: standard_error?,
            floor: floor?,
            n_real: n_real?.map(|n| n as u64),
            n_fake: n_fake?.map(|n| n as u64),
            direction,
        });
    }
    Ok(Some(Metrics { rows, is_of_earlier_version: direction.is_none() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "run,metric,space,parameter,value,standard_error,floor,n_real,n_fake,direction,target\n";

    fn parse(rows: &str) -> Result<Option<Metrics>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("metrics.csv"), format!("{HEADER}{rows}")).unwrap();
        read(folder.path())
    }

    #[test]
    fn rows_are_read_by_name_and_what_is_not_finite_is_kept() {
        let metrics = parse(
            "x,fd,random-64,,2.5,0.1,0.2,100,90,lower,\nx,kid,random-64,,NaN,inf,,,,lower,\nx,fd,pca-64,,inf,,,,,\
             lower,\n\
             x,coverage,pca-64,k=5,0.5,,,,,higher,\nx,one_nn_accuracy,pca-64,,0.9,,,,,target,0.5\nx,vendi,pca-64,,9,\
             ,,,,,\n",
        );
        let Metrics { rows, is_of_earlier_version } = metrics.unwrap().unwrap();
        assert!(!is_of_earlier_version);
        assert_eq!(rows.len(), 6);
        assert_eq!(rows[0].key, Key::new("fd", "random-64", ""));
        assert_eq!((rows[0].standard_error, rows[0].floor, rows[0].n_fake), (Some(0.1), Some(0.2), Some(90)));
        assert!(rows[1].value.is_nan() && rows[1].standard_error.is_none());
        assert_eq!(rows[2].value, f64::INFINITY);
        assert_eq!((rows[3].key.parameter.as_str(), rows[3].direction), ("k=5", Direction::Higher));
        assert_eq!([rows[4].direction, rows[5].direction], [Direction::Target(0.5), Direction::Neither]);
    }

    #[test]
    fn an_earlier_version_had_two_directions_for_everything() {
        let folder = tempfile::tempdir().unwrap();
        let rows = "metric,space,value,higher_is_better\nfd,x,1,false\nrecall,x,1,true\nauth_pct,x,50,true\nvendi,x,\
                    9,true\n\
                    one_nn_accuracy,x,0.9,false\n";
        std::fs::write(folder.path().join("metrics.csv"), rows).unwrap();
        let Metrics { rows, is_of_earlier_version } = read(folder.path()).unwrap().unwrap();
        assert!(is_of_earlier_version);
        let directions: Vec<Direction> = rows.iter().map(|metric| metric.direction).collect();
        assert_eq!(
            directions,
            [Direction::Lower, Direction::Higher, Direction::Neither, Direction::Neither, Direction::Target(0.5)]
        );
    }

    #[test]
    fn foreign_and_torn_files_say_what_is_wrong() {
        assert!(
            parse("x,fd,random-64,,many,,,,,lower,\n")
                .unwrap_err()
                .contains("`fd` should have numbers, found \"many\"")
        );
        assert!(parse("x,fd,random-64,,1,,,,,down,\n").unwrap_err().contains("higher, lower, target or empty"));
        assert!(parse("x,fd,random-64,,1,,,,").unwrap_err().contains("cut off"));
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        let error = |text: &str| {
            std::fs::write(folder.path().join("metrics.csv"), text).unwrap();
            read(folder.path()).unwrap_err()
        };
        assert_eq!(error("metric,space\nfd,x\n"), "it has no column `value`");
        assert_eq!(error("metric,space,value\nfd,x,1\n"), "it has no column `direction`");
        assert!(error("metric,space,value,higher_is_better\nfd,x,1,yes\n").contains("true or false"));
    }
}
