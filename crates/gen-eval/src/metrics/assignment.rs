//! The linear assignment problem.

/// The cheapest assignment of `n` rows to `n` different columns, from `cost` in row-major order: the column of each
/// row. Shortest augmenting paths (Jonker and Volgenant 1987), `O(n³)` at worst and about `O(n²)` per hard row.
///
/// Prices `row[i] + column[j]` stay at or below the costs, and are equal to them for assigned pairs. The matching is
/// therefore always the cheapest one of the rows assigned so far.
pub(super) fn assign(cost: &[f64], n: usize) -> Vec<usize> {
    const NONE: usize = usize::MAX;
    let row = |i: usize| &cost[i * n..(i + 1) * n];
    let mut column_price = vec![f64::INFINITY; n];
    for i in 0..n {
        for (price, cost) in column_price.iter_mut().zip(row(i)) {
            *price = price.min(*cost);
        }
    }
    let mut row_price = vec![0.0; n];
    let (mut column_of, mut row_of) = (vec![NONE; n], vec![NONE; n]);
    for i in 0..n {
        let slack = |j: usize| row(i)[j] - column_price[j];
        let best = (0..n).min_by(|&a, &b| slack(a).total_cmp(&slack(b))).expect("there are columns");
        row_price[i] = slack(best);
        if row_of[best] == NONE {
            (row_of[best], column_of[i]) = (i, best);
        }
    }

    // For each column: the length of the shortest path from the free row, and the row before it on this path.
    let mut length = vec![f64::INFINITY; n];
    let mut before = vec![NONE; n];
    let (mut open, mut closed): (Vec<usize>, Vec<usize>) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for free in 0..n {
        if column_of[free] != NONE {
            continue;
        }
        length.fill(f64::INFINITY);
        open.clear();
        open.extend(0..n);
        closed.clear();
        let (mut at, mut so_far) = (free, 0.0);
        let end = loop {
            let (costs, base) = (row(at), so_far - row_price[at]);
            let (mut nearest, mut place) = (f64::INFINITY, 0);
            for (index, &j) in open.iter().enumerate() {
                let through = base + costs[j] - column_price[j];
                if through < length[j] {
                    (length[j], before[j]) = (through, at);
                }
                // Among equally near columns a free one ends the search.
                if length[j] < nearest || (length[j] == nearest && row_of[j] == NONE) {
                    (nearest, place) = (length[j], index);
                }
            }
            so_far = nearest;
            let j = open.swap_remove(place);
            if row_of[j] == NONE {
                break j;
            }
            closed.push(j);
            at = row_of[j];
        };
        row_price[free] += so_far;
        for &j in &closed {
            row_price[row_of[j]] += so_far - length[j];
            column_price[j] -= so_far - length[j];
        }
        let mut j = end;
        loop {
            let i = before[j];
            row_of[j] = i;
            std::mem::swap(&mut column_of[i], &mut j);
            if i == free {
                break;
            }
        }
    }
    column_of
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use gen_core::rng::{Purpose, generator};

    fn total(cost: &[f64], columns: &[usize]) -> f64 {
        columns.iter().enumerate().map(|(i, j)| cost[i * columns.len() + j]).sum()
    }

    /// The least total over all orders.
    fn least(cost: &[f64], n: usize, taken: &mut Vec<usize>) -> f64 {
        if taken.len() == n {
            return total(cost, taken);
        }
        let mut best = f64::INFINITY;
        for j in 0..n {
            if !taken.contains(&j) {
                taken.push(j);
                best = best.min(least(cost, n, taken));
                taken.pop();
            }
        }
        best
    }

    #[test]
    fn no_order_is_cheaper() {
        let mut rng = generator(1, Purpose::Evaluate, 0);
        for n in 1..=6 {
            for round in 0..40 {
                // Whole numbers have ties.
                let cost: Vec<f64> = (0..n * n)
                    .map(|_| if round % 2 == 0 { f64::from(rng.random_range(0..4u8)) } else { rng.random() })
                    .collect();
                let found = assign(&cost, n);
                let mut sorted = found.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..n).collect::<Vec<_>>());
                let best = least(&cost, n, &mut Vec::new());
                assert!((total(&cost, &found) - best).abs() < 1e-12, "{cost:?}: {found:?}");
            }
        }
    }

    #[test]
    fn points_on_a_line_keep_their_order() {
        let mut rng = generator(2, Purpose::Evaluate, 0);
        let n = 300;
        let mut points = || {
            let mut x: Vec<f64> = (0..n).map(|_| rng.random()).collect();
            x.sort_by(f64::total_cmp);
            x
        };
        let (a, b) = (points(), points());
        let cost: Vec<f64> = a.iter().flat_map(|x| b.iter().map(move |y| (x - y) * (x - y))).collect();
        assert_eq!(assign(&cost, n), (0..n).collect::<Vec<_>>());
    }
}
