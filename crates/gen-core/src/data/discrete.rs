use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::error::Result;

/// Equally spaced numbers: `origin + k * step` for whole k.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// One of the numbers.
    pub origin: f64,
    /// The distance of neighbours; 0 for no grid, so that each number is its own nearest.
    pub step: f64,
}

impl Grid {
    /// The grid of the values of one column of `x: f64 [n, columns]`; `None` where they are not equally spaced.
    ///
    /// # Errors
    /// When libtorch cannot read the values.
    pub fn of(x: &Tensor, column: usize) -> Result<Option<Grid>> {
        Ok(grid_of(&Counted::of(&sorted(x, column)?).distinct))
    }

    /// The grid's number nearest to `x`.
    pub fn nearest(&self, x: f64) -> f64 {
        if self.step == 0.0 { x } else { self.origin + ((x - self.origin) / self.step).round() * self.step }
    }
}

/// A column of a table that is not continuous: its density is unbounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiscreteColumn {
    /// The column, counted from 0.
    pub column: usize,
    /// The number of different values in the training rows.
    pub distinct: usize,
    /// The grid of all its values, where they are equally spaced.
    pub grid: Option<Grid>,
    /// The most frequent value.
    pub commonest: f64,
    /// The share of the rows that have it.
    pub share: f64,
}

/// A column whose step is a smaller share of the standard deviation counts as continuous: the step is that of the last
/// digit.
const FINEST: f64 = 0.01;
/// A value that this share of the rows has is no chance among continuous ones.
const ATOM: f64 = 0.05;

/// The columns of `x: f64 [n, columns]` that are discrete, or have a value that too many rows share. A constant column
/// is not among them.
///
/// # Errors
/// When libtorch cannot read the values.
pub(super) fn discrete_columns(x: &Tensor) -> Result<Vec<DiscreteColumn>> {
    let mut found = Vec::new();
    for column in 0..x.size()[1] as usize {
        let values = sorted(x, column)?;
        found.extend(Counted::of(&values).discrete(column, &values));
    }
    Ok(found)
}

fn sorted(x: &Tensor, column: usize) -> Result<Vec<f64>> {
    let (sorted, _) = x.select(1, column as i64).to_device(tch::Device::Cpu).sort(0, false);
    Ok(Vec::try_from(sorted)?)
}

/// The different values of a sorted column.
struct Counted {
    distinct: Vec<f64>,
    /// The number of rows whose value another row has too.
    shared: usize,
    commonest: f64,
    most: usize,
}

impl Counted {
    fn of(sorted: &[f64]) -> Self {
        let mut counted = Counted { distinct: Vec::new(), shared: 0, commonest: f64::NAN, most: 0 };
        for rows in sorted.chunk_by(|a, b| a == b) {
            counted.distinct.push(rows[0]);
            counted.shared += if rows.len() > 1 { rows.len() } else { 0 };
            if rows.len() > counted.most {
                (counted.commonest, counted.most) = (rows[0], rows.len());
            }
        }
        counted
    }

    fn discrete(&self, column: usize, sorted: &[f64]) -> Option<DiscreteColumn> {
        let rows = sorted.len();
        if self.distinct.len() < 2 {
            return None;
        }
        let grid = grid_of(&self.distinct);
        let whole = self.distinct.iter().all(|value| value.fract() == 0.0);
        let std = Tensor::from_slice(sorted).std(false).double_value(&[]);
        let coarse = grid.is_some_and(|grid| grid.step >= FINEST * std) && (whole || self.shared > 0);
        let share = self.most as f64 / rows as f64;
        let has_atom = self.most >= 5 && share >= ATOM;
        let is_discrete = coarse || 2 * self.shared > rows || has_atom;
        is_discrete.then_some(DiscreteColumn {
            column,
            distinct: self.distinct.len(),
            // A finer grid comes from the last digit of the numbers.
            grid: grid.filter(|grid| grid.step >= 1e-6 * std),
            commonest: self.commonest,
            share,
        })
    }
}

/// The grid of the values `distinct`, ascending. Its step is the greatest common divisor of their distances.
fn grid_of(distinct: &[f64]) -> Option<Grid> {
    let [first, .., last] = distinct else { return None };
    let range = last - first;
    let tolerance = range * 1e-9;
    let mut step = range;
    for pair in distinct.windows(2) {
        let gap = pair[1] - pair[0];
        if gap > tolerance {
            step = common_divisor(step, gap, tolerance);
        }
        if step <= 2.0 * tolerance {
            return None;
        }
    }
    // Rounding errors add up in the divisor, but not in the number of steps from end to end.
    let step = range / (range / step).round();
    Some(Grid { origin: *first, step })
}

/// Euclid's algorithm for numbers with rounding errors.
fn common_divisor(mut a: f64, mut b: f64, tolerance: f64) -> f64 {
    while b > tolerance {
        let rest = a % b;
        let rest = if b - rest <= tolerance { 0.0 } else { rest };
        (a, b) = (b, rest);
    }
    a
}

/// Adds uniform noise of one step, centred at 0, to each column of `x: f64 [n, dimension]` that has a grid.
pub(super) fn spread(x: &Tensor, grids: &[Grid], rng: &crate::rng::Generator) -> Tensor {
    let steps: Vec<f64> = grids.iter().map(|grid| grid.step).collect();
    let steps = Tensor::from_slice(&steps).to_device(x.device());
    x + (rng.rand(x.size(), (Kind::Double, x.device())) - 0.5) * steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Generator;

    fn column(values: &[f64]) -> Option<DiscreteColumn> {
        discrete_columns(&Tensor::from_slice(values).view([-1, 1])).unwrap().pop()
    }

    fn step(values: &[f64]) -> Option<f64> {
        column(values).and_then(|found| found.grid).map(|grid| grid.step)
    }

    #[test]
    fn grids_are_found_by_their_common_divisor() {
        assert_eq!(step(&[0.0, 2.0, 5.0, 2.0]), Some(1.0));
        assert_eq!(step(&[10.0, 40.0, 20.0, 70.0]), Some(10.0));
        assert_eq!(step(&[-1.5, 0.5, 1.0, 1.0]), Some(0.5));
        let tenths: Vec<f64> = (0..50).map(|i| f64::from(i * i % 37) * 0.1).collect();
        assert!((step(&tenths).unwrap() - 0.1).abs() < 1e-12);
        let shifted: Vec<f64> = (0..50).map(|i| f64::from(i % 7) + 2_451_545.25).collect();
        let grid = column(&shifted).unwrap().grid.unwrap();
        assert_eq!((grid.origin, grid.step), (2_451_545.25, 1.0));
        assert_eq!(grid.nearest(2_451_547.7), 2_451_547.25);
    }

    #[test]
    fn continuous_columns_are_left_alone() {
        let normal = Vec::<f64>::try_from(Generator::seeded(1).randn([500], (Kind::Double, tch::Device::Cpu)));
        let normal = normal.unwrap();
        assert_eq!(column(&normal), None);
        // Dollars: whole numbers, with a step that is small against the standard deviation.
        let income: Vec<f64> = normal.iter().map(|z| (z * 1e4).round()).collect();
        assert_eq!(column(&income), None);
        assert_eq!(column(&[3.0; 20]), None);
        assert_eq!(column(&[1.25, 7.5, 3.0]), None);
    }

    #[test]
    fn a_value_that_many_rows_share_is_reported() {
        let normal = Vec::<f64>::try_from(Generator::seeded(2).rand([300], (Kind::Double, tch::Device::Cpu)));
        let mut values = normal.unwrap();
        values[..60].fill(0.0);
        let found = column(&values).unwrap();
        assert_eq!((found.commonest, found.share, found.grid), (0.0, 0.2, None));
    }

    #[test]
    fn noise_stays_in_the_cell_and_the_rest_is_untouched() {
        let x = Tensor::from_slice(&[1.0, 0.3, 2.0, 0.7]).view([2, 2]);
        let grids = [Grid { origin: 0.0, step: 0.5 }, Grid::default()];
        let noisy = spread(&x, &grids, &Generator::seeded(3));
        assert_eq!(noisy.select(1, 1), x.select(1, 1));
        let noise = (noisy.select(1, 0) - x.select(1, 0)).abs();
        assert!(noise.max().double_value(&[]) <= 0.25 && noise.min().double_value(&[]) > 0.0);
    }
}
