//! Exact nearest neighbours.

use tch::{Kind, Tensor};

use super::rows::{checked, distances, row_sums, same_width, values};
use gen_core::{Error, Result};

/// Entries of a matrix of distances in memory at a time (4 MiB, which fit into a cache), and the fewest rows for a fast
/// matrix product.
const ENTRIES: i64 = 1 << 19;
const LEAST_ROWS: i64 = 32;
/// Candidates beyond `k`, enough for the ties of ordinary data.
const SPARE: i64 = 8;
/// A squared distance above this multiple of its uncertainty has an error of at most 1e-9.
const LOST_DIGITS: f64 = 1e9;
/// Limit on squared norms, so that their sums are finite.
const LARGEST: f64 = 1e300;

/// Rows to which distances are measured, prepared for the matrix products that exclude most pairs.
///
/// `|a - b|² = |a|² + |b|² - 2 a·b` takes one product for all pairs, but loses the digits of small distances. The
/// product is therefore used only to exclude pairs. With `u = ε/2` and `d` features, the rounding errors of centred
/// rows (`4 u`), norms (`d u`), the product (`2 (d + 2) u`) and direct differences (`2 (d + 8) u`) are together below
/// [`slack`]` (|a|² + |b|²)`. Pairs within that margin of a decision are measured by direct differences.
pub(super) struct Points<'a> {
    rows: &'a Tensor,
    centre: Tensor,
    norms: Tensor,
    /// Rows `[b, 1, |b|²]`, transposed.
    extended: Tensor,
    slack: f64,
}

/// The squared distances of a block of queries to all points, up to rounding.
pub(super) struct Block<'a> {
    points: &'a Points<'a>,
    queries: Tensor,
    squared: Tensor,
    /// Bound on the difference of `squared` from the result of direct differences: `[queries, 1]`
    uncertainty: Tensor,
}

/// Pairs within a radius.
pub(super) struct Within {
    /// Whether each pair is at most the radius apart: `bool [queries, points]`
    pub(super) pairs: Tensor,
    /// Whether each pair is exactly the radius apart; `None` if no pair is.
    pub(super) surface: Option<Tensor>,
}

/// The relative margin of [`Points`], about 1.5 times the bound.
fn slack(dimensions: i64) -> f64 {
    4.0 * (dimensions + 8) as f64 * f64::EPSILON
}

impl<'a> Points<'a> {
    /// Prepares rows `f64 [n, features]`, which are not copied.
    pub(super) fn new(rows: &'a Tensor) -> Result<Self> {
        let centre = rows.mean_dim([0i64].as_slice(), true, Kind::Double);
        let centred = rows - &centre;
        let norms = row_sums(&centred.square());
        check_norms(&norms)?;
        let extended = Tensor::cat(&[&centred, &norms.ones_like().unsqueeze(1), &norms.unsqueeze(1)], 1);
        Ok(Points { rows, centre, norms, extended: extended.tr(), slack: slack(rows.size()[1]) })
    }

    pub(super) fn count(&self) -> i64 {
        self.rows.size()[0]
    }

    /// Number of queries in a block.
    fn block_length(&self) -> i64 {
        (ENTRIES / self.count()).clamp(LEAST_ROWS, 1024)
    }

    /// Blocks of consecutive queries, each with the index of its first query.
    pub(super) fn blocks(&'a self, queries: &'a Tensor) -> impl Iterator<Item = Result<(i64, Block<'a>)>> {
        let (n, length) = (queries.size()[0], self.block_length());
        (0..n)
            .step_by(length as usize)
            .map(move |start| Ok((start, self.block(queries.narrow(0, start, length.min(n - start)))?)))
    }

    fn block(&'a self, queries: Tensor) -> Result<Block<'a>> {
        let centred = &queries - &self.centre;
        let norms = row_sums(&centred.square()).unsqueeze(1);
        check_norms(&norms)?;
        let extended = Tensor::cat(&[&(centred * -2.0), &norms, &norms.ones_like()], 1);
        let squared = extended.f_matmul(&self.extended)?;
        let uncertainty = (norms + self.norms.max()) * self.slack;
        Ok(Block { points: self, queries, squared, uncertainty })
    }
}

fn check_norms(norms: &Tensor) -> Result<()> {
    if norms.max().double_value(&[]) > LARGEST {
        return Err(Error::invalid("distances of such large features overflow"));
    }
    Ok(())
}

impl Block<'_> {
    pub(super) fn length(&self) -> i64 {
        self.queries.size()[0]
    }

    /// The pairs at most `radii` apart. `radii` broadcasts to `[queries, points]`.
    pub(super) fn within(&self, radii: &Tensor) -> Within {
        let surface = |on: Tensor| (on.sum(Kind::Int64).int64_value(&[]) > 0).then_some(on);
        let mut margin = &self.squared - radii.square();
        let nearer = margin.lt(0.0);
        let close = margin.abs_().less_equal_tensor(&self.uncertainty);
        let count = close.sum(Kind::Int64).int64_value(&[]);
        if count == 0 {
            return Within { pairs: nearer, surface: None };
        }
        if count > self.squared.numel() as i64 / 16 {
            let exact = distances(&self.queries, self.points.rows);
            return Within { pairs: exact.less_equal_tensor(radii), surface: surface(exact.eq_tensor(radii)) };
        }
        let pairs = close.nonzero();
        let (queries, points) = (pairs.select(1, 0), pairs.select(1, 1));
        let exact = self.between(&queries, &points);
        let radii = radii.expand_as(&self.squared).masked_select(&close);
        let on = surface(exact.eq_tensor(&radii));
        Within {
            pairs: nearer.masked_scatter(&close, &exact.less_equal_tensor(&radii)),
            surface: on.map(|on| close.zeros_like().masked_scatter(&close, &on)),
        }
    }

    /// All distances, `[queries, points]`. The error of their sum is at most 1e-10; pairs whose product has lost more
    /// digits are measured by direct differences.
    pub(super) fn distances(&self) -> Tensor {
        let close = self.squared.less_equal_tensor(&(&self.uncertainty * LOST_DIGITS));
        let count = close.sum(Kind::Int64).int64_value(&[]);
        if count > self.squared.numel() as i64 / 16 {
            return distances(&self.queries, self.points.rows);
        }
        let about = self.squared.clamp_min(0.0).sqrt();
        if count == 0 {
            return about;
        }
        let pairs = close.nonzero();
        about.masked_scatter(&close, &self.between(&pairs.select(1, 0), &pairs.select(1, 1)))
    }

    /// Distances of some pairs by direct differences: `[pairs]`
    fn between(&self, queries: &Tensor, points: &Tensor) -> Tensor {
        let length = (ENTRIES / self.queries.size()[1]).max(1);
        let parts = queries.split(length, 0).into_iter().zip(points.split(length, 0));
        let parts: Vec<Tensor> = parts
            .map(|(query, point)| {
                let a = self.queries.index_select(0, &query).unsqueeze(1);
                let b = self.points.rows.index_select(0, &point).unsqueeze(1);
                distances(&a, &b).view([-1])
            })
            .collect();
        Tensor::cat(&parts, 0)
    }

    /// The `k` nearest points of each query as (distance, index), the nearest first and equally near ones by index.
    /// `own` is the index of the first query among the points, if queries are points and not their own neighbours.
    fn nearest(&self, k: i64, own: Option<i64>) -> Result<Vec<(f64, i64)>> {
        let n = self.points.count();
        if let Some(first) = own {
            // An infinite distance excludes the row itself.
            let _ = self.squared.narrow(1, first, self.length()).diagonal(0, 0, 1).fill_(f64::INFINITY);
        }
        let count = (k + SPARE + i64::from(own.is_some())).min(n);
        let (about, index) = self.squared.topk(count, 1, false, true);
        let rows = index.view([-1]);
        let candidates = self.points.rows.index_select(0, &rows).view([self.length(), count, -1]);
        let exact = values(&distances(&self.queries.unsqueeze(1), &candidates))?;
        let (about, index) = (values(&about)?, Vec::<i64>::try_from(rows)?);
        let uncertainty = values(&self.uncertainty)?;

        let (k, count) = (k as usize, count as usize);
        let mut found = Vec::with_capacity(k * uncertainty.len());
        for (i, uncertainty) in uncertainty.iter().enumerate() {
            let row = i * count..(i + 1) * count;
            let own = own.map(|first| first + i as i64);
            // All other points must be farther than the k-th candidate, with both uncertainties.
            let complete = count as i64 == n || about[row.end - 1] > about[row.start + k - 1] + 2.0 * uncertainty;
            if complete {
                let pairs = exact[row.clone()].iter().copied().zip(index[row].iter().copied());
                smallest(pairs.filter(|(_, index)| Some(*index) != own).collect(), k, &mut found);
            } else {
                let all = values(&distances(&self.queries.narrow(0, i as i64, 1), self.points.rows))?;
                smallest(all.into_iter().zip(0..).filter(|(_, index)| Some(*index) != own).collect(), k, &mut found);
            }
        }
        Ok(found)
    }
}

/// Appends the `k` smallest pairs, in order.
fn smallest(mut pairs: Vec<(f64, i64)>, k: usize, to: &mut Vec<(f64, i64)>) {
    let order = |a: &(f64, i64), b: &(f64, i64)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    if k < pairs.len() {
        pairs.select_nth_unstable_by(k, order);
        pairs.truncate(k);
    }
    pairs.sort_unstable_by(order);
    to.extend(pairs);
}

/// The `k` nearest rows of `points`, `[m, features]`, to each row of `queries`, `[n, features]`: their Euclidean
/// distances, `f64 [n, k]`, and indices, `i64 [n, k]`, the nearest first and equally near ones by index. With
/// `exclude_self` both sets are the same rows, and no row is its own neighbour. `progress` receives the number of
/// queries done and in all.
///
/// Distances come from direct differences in f64, so equal rows are exactly 0 apart. Matrix products only exclude
/// pairs.
///
/// ```
/// use gen_eval::nearest;
/// use tch::Tensor;
///
/// let train = Tensor::from_slice(&[0.0, 10.0, 20.0]).view([3, 1]);
/// let samples = Tensor::from_slice(&[12.0, 20.0]).view([2, 1]);
/// let (distances, indices) = nearest(&samples, &train, 1, false, &mut |_, _| ()).unwrap();
/// assert_eq!(distances, Tensor::from_slice(&[2.0, 0.0]).view([2, 1]));
/// assert_eq!(indices, Tensor::from_slice(&[1i64, 2]).view([2, 1]));
/// ```
///
/// # Errors
/// When there are fewer than `k` points, `k` is 0, the numbers of features differ, a value is not finite, or
/// `exclude_self` is asked for with sets of different sizes.
pub fn nearest(
    queries: &Tensor,
    points: &Tensor,
    k: i64,
    exclude_self: bool,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(Tensor, Tensor)> {
    const METRIC: &str = "the search for neighbours";
    if k < 1 {
        return Err(Error::invalid("nearest neighbours need k of at least 1"));
    }
    let queries = checked(METRIC, "query", queries, 1)?;
    let points = checked(METRIC, "point", points, k + i64::from(exclude_self))?;
    same_width(METRIC, &[("query", &queries), ("point", &points)])?;
    let n = queries.size()[0];
    if exclude_self && n != points.size()[0] {
        return Err(Error::invalid(format!(
            "{METRIC}: queries that are the points themselves should be {} rows, found {n}",
            points.size()[0]
        )));
    }
    let points = Points::new(&points)?;
    let mut found = Vec::with_capacity((n * k) as usize);
    progress(0, n as usize);
    for block in points.blocks(&queries) {
        let (start, block) = block?;
        found.extend(block.nearest(k, exclude_self.then_some(start))?);
        progress((start + block.length()) as usize, n as usize);
    }
    let (distances, indices): (Vec<f64>, Vec<i64>) = found.into_iter().unzip();
    Ok((Tensor::from_slice(&distances).view([n, k]), Tensor::from_slice(&indices).view([n, k])))
}

/// The distance of every row of `x`, `[n, features]`, to its `k`-th nearest other row: `f64 [n]`.
///
/// # Errors
/// When there are no more than `k` rows, `k` is 0, or a value is not finite.
pub fn neighbour_radii(x: &Tensor, k: i64) -> Result<Tensor> {
    let (distances, _) = nearest(x, x, k, true, &mut |_, _| ())?;
    Ok(distances.select(1, k - 1).contiguous())
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use gen_core::rng::{Purpose, stream};

    fn normal(n: i64, d: i64, seed: u64) -> Tensor {
        stream(seed, Purpose::Evaluate, 0).randn([n, d], (Kind::Double, Device::Cpu))
    }

    /// All distances, sorted: the slow way.
    fn slow(queries: &Tensor, points: &Tensor, k: i64, exclude_self: bool) -> (Tensor, Tensor) {
        let mut d = distances(queries, points);
        if exclude_self {
            let _ = d.fill_diagonal_(f64::INFINITY, false);
        }
        let (d, index) = d.sort_stable(true, 1, false);
        (d.narrow(1, 0, k).contiguous(), index.narrow(1, 0, k).contiguous())
    }

    fn check(queries: &Tensor, points: &Tensor, k: i64, exclude_self: bool) {
        let found = nearest(queries, points, k, exclude_self, &mut |_, _| ()).unwrap();
        assert_eq!(found, slow(queries, points, k, exclude_self));
    }

    #[test]
    fn bit_for_bit_the_slow_way() {
        let (a, b) = (normal(700, 5, 1), normal(1900, 5, 2));
        check(&a, &b, 4, false);
        check(&b, &b, 6, true);
        // Far from the origin, where products alone have no digits left; and with one row far from all.
        check(&(&a + 1e6), &(&b + 1e6), 3, false);
        let far = Tensor::cat(&[&b, &(normal(1, 5, 3) * 1e9)], 0);
        check(&a, &far, 3, false);
        check(&far, &far, 3, true);
        // All points are candidates.
        check(&a, &b.narrow(0, 0, 5), 5, false);
        check(&b.narrow(0, 0, 5), &b.narrow(0, 0, 5), 4, true);
    }

    #[test]
    fn ties_and_equal_rows() {
        // A grid has more equal distances than candidates; rows come several times.
        let i = Tensor::arange(1200, (Kind::Int64, Device::Cpu));
        let grid = Tensor::stack(&[&i.remainder(20), &i.divide_scalar_mode(20, "floor")], 1).to_kind(Kind::Double);
        let grid = (grid * 0.1).remainder(1.5);
        check(&grid, &grid, 7, true);
        check(&(&grid + 0.05), &grid, 20, false);
        let equal = Tensor::full([300, 3], 0.3, (Kind::Double, Device::Cpu));
        check(&equal, &equal, 5, true);
        check(&normal(20, 3, 4), &equal, 5, false);
        let copies = Tensor::cat(&[normal(500, 8, 5), normal(500, 8, 5)], 0);
        let (distances, _) = nearest(&copies, &copies, 1, true, &mut |_, _| ()).unwrap();
        assert_eq!(distances.max().double_value(&[]), 0.0, "copies are exactly 0 apart");
    }

    #[test]
    fn pairs_near_a_radius_are_measured() {
        // Every radius is a distance that occurs, so that equality has to be seen.
        let (a, b) = (normal(300, 6, 6), normal(400, 6, 7));
        let radii = neighbour_radii(&b, 2).unwrap();
        for queries in [&b, &a, &Tensor::cat(&[&b.narrow(0, 0, 200), &a], 0)] {
            let points = Points::new(&b).unwrap();
            let direct = distances(queries, &b);
            let (within, on) = (direct.less_equal_tensor(&radii), direct.eq_tensor(&radii));
            for block in points.blocks(queries) {
                let (start, block) = block.unwrap();
                let found = block.within(&radii);
                assert_eq!(found.pairs, within.narrow(0, start, block.length()));
                let surface = found.surface.unwrap_or_else(|| found.pairs.zeros_like());
                assert_eq!(surface, on.narrow(0, start, block.length()));
            }
        }
        let equal = Tensor::full([50, 6], 0.7, (Kind::Double, Device::Cpu));
        let points = Points::new(&equal).unwrap();
        let block = points.block(equal.shallow_clone()).unwrap();
        let all = |x: &Tensor| bool::try_from(x.all()).unwrap();
        let found = block.within(&Tensor::from(0.0));
        assert!(all(&found.pairs) && all(&found.surface.unwrap()));
        let found = block.within(&Tensor::from(1e-300));
        assert!(all(&found.pairs) && found.surface.is_none());
    }

    #[test]
    fn distances_keep_their_digits() {
        let (a, b) = (normal(300, 40, 10), normal(200, 40, 11));
        let mixed = Tensor::cat(&[&a.narrow(0, 0, 3), &(a.narrow(0, 3, 3) + 1e-7), &b], 0);
        for (queries, points) in [(&a, &b), (&a, &mixed), (&a, &a.narrow(0, 0, 10)), (&mixed, &mixed)] {
            let points_ready = Points::new(points).unwrap();
            for block in points_ready.blocks(queries) {
                let (start, block) = block.unwrap();
                let direct = distances(&queries.narrow(0, start, block.length()), points);
                gen_core::testing::assert_close(&block.distances(), &direct, 1e-9, 0.0);
            }
        }
    }

    #[test]
    fn progress_reaches_the_end() {
        let mut heard = Vec::new();
        let x = normal(3000, 2, 8);
        let _ = nearest(&x, &x, 1, true, &mut |done, total| heard.push((done, total))).unwrap();
        assert_eq!((heard[0], heard[heard.len() - 1]), ((0, 3000), (3000, 3000)));
        assert!(heard.len() > 3 && heard.is_sorted());
    }

    #[test]
    fn impossible_input_is_explained() {
        let x = normal(4, 2, 9);
        let message =
            |k, exclude, points: &Tensor| nearest(&x, points, k, exclude, &mut |_, _| ()).unwrap_err().to_string();
        assert_eq!(message(0, false, &x), "nearest neighbours need k of at least 1");
        assert_eq!(
            message(4, true, &x),
            "the search for neighbours needs at least 5 point rows as [n, features]; found [4, 2]"
        );
        assert_eq!(
            message(1, true, &x.narrow(0, 0, 3)),
            "the search for neighbours: queries that are the points themselves should be 3 rows, found 4"
        );
        assert_eq!(
            message(1, false, &x.narrow(1, 0, 1)),
            "the search for neighbours: query rows have 2 features, point rows 1"
        );
        assert_eq!(message(1, false, &(&x * 1e200)), "distances of such large features overflow");
    }
}
