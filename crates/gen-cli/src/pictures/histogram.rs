//! Histograms of several sets of numbers over each other.

use image::RgbImage;

use super::canvas::{Canvas, FAINT, INK, TEXT_HEIGHT};
use super::chart::{LEFT, LEGEND_LINE, legend, ticks};
use super::colour;

/// Bins from one end to the other.
const BINS: usize = 60;
/// The field, in pixels.
const WIDTH: u32 = 600;
const HEIGHT: u32 = 300;
const MARGIN: u32 = 14;

/// The shares of each set in equal bins, as steps in a colour of its own. The bins go from the lowest half percent of all
/// numbers to the highest; what lies outside is in the first and the last.
pub(crate) fn histogram(title: &str, unit: &str, names: &[String], sets: &[Vec<f64>]) -> RgbImage {
    let bins = Bins::around(sets);
    let shares: Vec<[f64; BINS]> = sets.iter().map(|set| bins.shares(set)).collect();
    let highest = shares.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max) * 1.05;

    let top = TEXT_HEIGHT + MARGIN + LEGEND_LINE * names.len() as u32 + 6;
    let mut canvas = Canvas::new(LEFT + WIDTH + MARGIN, top + HEIGHT + 3 * TEXT_HEIGHT);
    canvas.text_centred(title, i64::from(LEFT + WIDTH / 2), 5, INK);
    legend(&mut canvas, [LEFT, TEXT_HEIGHT + MARGIN], names, colour::of_class);

    let place = |value: f64, share: f64| {
        let across = f64::from(LEFT) + (value - bins.low) / (bins.high - bins.low) * f64::from(WIDTH);
        [across, f64::from(top) + (1.0 - share / highest) * f64::from(HEIGHT)]
    };
    let bottom = i64::from(top + HEIGHT);
    for (value, label) in ticks(bins.low, bins.high) {
        let [x, _] = place(value, 0.0);
        canvas.fill([x as u32, top + HEIGHT, 1, 4], INK);
        canvas.text_centred(&label, x as i64, bottom + 5, INK);
    }
    for (share, label) in ticks(0.0, highest) {
        let [_, y] = place(bins.low, share);
        canvas.fill([LEFT - 4, y as u32, 4, 1], INK);
        canvas.text_to(&label, i64::from(LEFT) - 7, y as i64 - i64::from(TEXT_HEIGHT) / 2, INK);
    }
    canvas.text_centred(unit, i64::from(LEFT + WIDTH / 2), bottom + 7 + i64::from(TEXT_HEIGHT), INK);
    canvas.frame([LEFT, top, WIDTH, HEIGHT], 1, FAINT);
    for (set, shares) in shares.iter().enumerate() {
        let mut from = place(bins.low, 0.0);
        for (bin, share) in shares.iter().enumerate() {
            for value in [bins.edge(bin), bins.edge(bin + 1)] {
                let to = place(value, *share);
                canvas.line(from, to, 0.8, colour::of_class(set));
                from = to;
            }
        }
        canvas.line(from, place(bins.high, 0.0), 0.8, colour::of_class(set));
    }
    canvas.into_image()
}

struct Bins {
    low: f64,
    high: f64,
}

impl Bins {
    fn around(sets: &[Vec<f64>]) -> Self {
        let mut all: Vec<f64> = sets.iter().flatten().copied().filter(|value| value.is_finite()).collect();
        all.sort_by(f64::total_cmp);
        let at = |share: f64| all.get((share * all.len().saturating_sub(1) as f64).round() as usize).copied();
        match (at(0.005), at(0.995)) {
            (Some(low), Some(high)) if low < high => Bins { low, high },
            (Some(only), _) => Bins { low: only - 1.0, high: only + 1.0 },
            _ => Bins { low: 0.0, high: 1.0 },
        }
    }

    fn edge(&self, bin: usize) -> f64 {
        self.low + (self.high - self.low) * bin as f64 / BINS as f64
    }

    /// The share of `set` in each bin; what is not a number is in none.
    fn shares(&self, set: &[f64]) -> [f64; BINS] {
        let mut shares = [0.0; BINS];
        for value in set.iter().filter(|value| !value.is_nan()) {
            let place = (value - self.low) / (self.high - self.low) * BINS as f64;
            shares[(place.max(0.0) as usize).min(BINS - 1)] += 1.0 / set.len() as f64;
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_a_bin() {
        let bins = Bins { low: 0.0, high: 60.0 };
        let shares =
            bins.shares(&[0.0, 0.5, 1.0, 59.9, 60.0, 1e9, -1e9, f64::NEG_INFINITY, f64::INFINITY, 30.0]);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let tenths = [0, 1, 30, 59].map(|bin| (shares[bin] * 10.0).round());
        assert_eq!(tenths, [4.0, 1.0, 1.0, 4.0]);
    }

    #[test]
    fn bins_hold_what_varies_and_what_does_not() {
        let ends = |sets: &[Vec<f64>]| {
            let bins = Bins::around(sets);
            (bins.low, bins.high)
        };
        let many: Vec<f64> = (0..=1000).map(f64::from).collect();
        assert_eq!(ends(&[many.clone(), vec![f64::NAN]]), (5.0, 995.0));
        assert_eq!(ends(&[vec![3.0, 3.0]]), (2.0, 4.0));
        assert_eq!(ends(&[vec![], vec![f64::INFINITY]]), (0.0, 1.0));
        let picture = histogram("title", "nats", &["a".to_owned(), "b".to_owned()], &[many, vec![3.0]]);
        for set in 0..2 {
            assert!(picture.pixels().any(|pixel| *pixel == colour::of_class(set)));
        }
    }
}
