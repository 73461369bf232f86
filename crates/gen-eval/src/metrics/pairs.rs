//! Statistics of all pairs of rows of two sets: `E k(x, x') + E k(y, y') - 2 E k(x, y)` for a symmetric function `k`.

use tch::Tensor;

use super::rows::mean;
use gen_core::Result;

/// Sums of `k` over the pairs of rows of two sets of `n` and `m` rows, or over the pairs of different rows of one set.
pub(super) struct PairSums {
    /// Sum over the second row, for each first row: `[n]`
    pub(super) by_first: Tensor,
    /// Sum over the first row, for each second row: `[m]`
    pub(super) by_second: Tensor,
    /// Sum of the squares of `k`.
    pub(super) squares: f64,
}

/// Moments of `k`, which give the variance of a statistic of pairs.
struct Moments {
    /// Mean over the second row, for each first row: `[n]`
    by_first: Tensor,
    /// Mean over the first row, for each second row: `[m]`
    by_second: Tensor,
    /// Variance of `k` after its means over both rows are subtracted: the part that belongs to no single row.
    of_pairs: f64,
}

impl PairSums {
    fn moments(&self, partners_of_first: f64, partners_of_second: f64) -> Moments {
        let by_first = &self.by_first / partners_of_first;
        let by_second = &self.by_second / partners_of_second;
        let pairs = by_first.numel() as f64 * partners_of_first;
        let centre = mean(&by_first);
        let spread = |x: &Tensor| mean(&(x - centre).square());
        let of_pairs = self.squares / pairs - centre * centre - spread(&by_first) - spread(&by_second);
        Moments { of_pairs: of_pairs.max(0.0), by_first, by_second }
    }
}

/// The standard error of `E k(x, x') + E k(y, y') - 2 E k(x, y)` over draws of both sets, to second order. It is the
/// root of the variance of a two-sample U-statistic (Serfling 1980, section 5.2), and valid for equal distributions
/// too, where the first order vanishes. `None` for fewer than 4 rows in a set.
pub(super) fn standard_error(real: &PairSums, fake: &PairSums, between: &PairSums) -> Result<Option<f64>> {
    let (n, m) = (real.by_first.numel() as f64, fake.by_first.numel() as f64);
    if n.min(m) < 4.0 {
        return Ok(None);
    }
    let (real, fake) = (real.moments(n - 1.0, n - 1.0), fake.moments(m - 1.0, m - 1.0));
    let between = between.moments(m, n);
    // The first order: the effect of a single row. The means over its pairs are noisy.
    let variance = |x: &Tensor| x.var(true).double_value(&[]);
    let rows = 4.0 * variance(&(&real.by_first - &between.by_first)) / n
        + 4.0 * variance(&(&fake.by_first - &between.by_second)) / m;
    let pairs = 2.0 * real.of_pairs / (n * (n - 1.0))
        + 2.0 * fake.of_pairs / (m * (m - 1.0))
        + 4.0 * between.of_pairs / (n * m);
    // `rows` contains the variance of pairs twice.
    let variance = (rows - pairs).max(pairs);
    Ok(Some(variance.max(0.0).sqrt()))
}
