//! Histograms of several sets of numbers over each other.

use gen_report::svg::Anchor;
use image::RgbImage;

use super::canvas::{Canvas, TEXT_HEIGHT};
use super::chart::{BELOW, Chart, LEFT, LEGEND_LINE, Window, legend};
use super::colour;

/// Bins from one end to the other.
const BINS: usize = 60;
/// The field, in pixels.
const WIDTH: u32 = 600;
const HEIGHT: u32 = 300;
const MARGIN: u32 = 14;

/// The shares of each set in equal bins, as steps in a colour of its own. The bins go from the lowest half percent of
/// all numbers to the highest; what lies outside is in the first and the last.
pub(crate) fn histogram(title: &str, unit: &str, names: &[String], sets: &[Vec<f64>]) -> anyhow::Result<RgbImage> {
    let bins = Bins::around(sets);
    let shares: Vec<[f64; BINS]> = sets.iter().map(|set| bins.shares(set)).collect();
    let highest = shares.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max) * 1.05;
    let mut field = Field::new([bins.low, bins.high], highest, title, unit, names);
    for (set, shares) in shares.iter().enumerate() {
        field.steps(&bins, shares, set);
    }
    field.canvas.into_image()
}

/// The density of `numbers` in equal bins between two ends, as steps, and a curve over it, which is given at the places
/// `x`. What lies outside is left out.
pub(crate) fn histogram_and_curve(
    title: &str,
    names: &[String],
    numbers: &[f64],
    [low, high]: [f64; 2],
    [x, y]: [&[f64]; 2],
) -> anyhow::Result<RgbImage> {
    let bins = Bins { low, high };
    let inside: Vec<f64> = numbers.iter().copied().filter(|value| (low..high).contains(value)).collect();
    // A share of all numbers over the width of a bin.
    let scale = BINS as f64 / (high - low) * inside.len() as f64 / numbers.len().max(1) as f64;
    let densities = bins.shares(&inside).map(|share| share * scale);
    let all = densities.iter().chain(y).copied().filter(|value| value.is_finite());
    let highest = all.fold(f64::MIN_POSITIVE, f64::max) * 1.05;
    let mut field = Field::new([low, high], highest, title, "value", names);
    field.steps(&bins, &densities, 0);
    let places: Vec<(f64, f64)> =
        x.iter().zip(y).map(|(x, y)| field.chart.place([*x, if *y > highest { highest } else { *y }])).collect();
    for part in places.split(|(x, y)| !(x.is_finite() && y.is_finite())).filter(|part| part.len() > 1) {
        field.canvas.drawing.path(part, 1.6, colour::of_class(1).0);
    }
    field.canvas.into_image()
}

/// A field with axes that is drawn into.
struct Field {
    canvas: Canvas,
    chart: Chart,
}

impl Field {
    fn new(ends: [f64; 2], highest: f64, title: &str, unit: &str, names: &[String]) -> Self {
        let top = TEXT_HEIGHT + MARGIN + LEGEND_LINE * names.len() as u32 + 6;
        let window = Window([ends, [0.0, highest]]);
        let chart = Chart { at: [LEFT, top], size: [WIDTH, HEIGHT], window };
        let mut canvas = Canvas::new(LEFT + WIDTH + MARGIN, top + HEIGHT + 3 * TEXT_HEIGHT);
        canvas.title(Anchor::Middle, title, LEFT + WIDTH / 2, 5);
        legend(&mut canvas, [LEFT, TEXT_HEIGHT + MARGIN], names, colour::of_class);
        chart.frame(&mut canvas, "");
        chart.axes(&mut canvas);
        canvas.text(Anchor::Middle, unit, LEFT + WIDTH / 2, top + HEIGHT + BELOW);
        Field { canvas, chart }
    }

    fn steps(&mut self, bins: &Bins, heights: &[f64; BINS], set: usize) {
        let corners = |(bin, height): (usize, &f64)| [[bins.edge(bin), *height], [bins.edge(bin + 1), *height]];
        let steps = heights.iter().enumerate().flat_map(corners);
        let outline = [[bins.low, 0.0]].into_iter().chain(steps).chain([[bins.high, 0.0]]);
        let outline: Vec<(f64, f64)> = outline.map(|corner| self.chart.place(corner)).collect();
        self.canvas.drawing.path(&outline, 1.6, colour::of_class(set).0);
    }
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
            (Some(only), _) => {
                // So far apart that both are other numbers.
                let margin = 1f64.max(only.abs() * 1e-6);
                Bins { low: only - margin, high: only + margin }
            }
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
        let shares = bins.shares(&[0.0, 0.5, 1.0, 59.9, 60.0, 1e9, -1e9, f64::NEG_INFINITY, f64::INFINITY, 30.0]);
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
        assert_eq!(ends(&[vec![1e30]]), (1e30 - 1e24, 1e30 + 1e24));
        assert_eq!(ends(&[vec![], vec![f64::INFINITY]]), (0.0, 1.0));
        let picture = histogram("title", "nats", &["a".to_owned(), "b".to_owned()], &[many, vec![3.0]]).unwrap();
        for set in 0..2 {
            assert!(picture.pixels().any(|pixel| *pixel == colour::of_class(set)));
        }
    }

    #[test]
    fn a_density_and_its_histogram_are_of_one_height() {
        let numbers: Vec<f64> = (0..6000).map(|i| f64::from(i) / 6000.0).collect();
        let bins = Bins { low: -1.0, high: 1.0 };
        let names = ["data".to_owned(), "model".to_owned()];
        // Uniform on [0, 1), which is half of what is shown.
        let x: Vec<f64> = (0..200).map(|i| -0.995 + 0.01 * f64::from(i)).collect();
        let y: Vec<f64> = x.iter().map(|x| if *x > 0.0 { 1.0 } else { 0.0 }).collect();
        let picture = histogram_and_curve("title", &names, &numbers, [bins.low, bins.high], [&x, &y]).unwrap();
        let field = Field::new([bins.low, bins.high], 1.05, "", "", &names);
        let (u, v) = field.chart.place([0.5, 1.0]);
        let (u, v) = (u as u32, v as u32);
        let colours: Vec<_> = (v - 1..=v + 1).map(|v| *picture.get_pixel(u, v)).collect();
        assert!(colours.contains(&colour::of_class(1)), "{colours:?}");
        let none = histogram_and_curve("title", &names, &[], [0.0, 1.0], [&[0.1, 0.2], &[f64::NAN, 1.0]]).unwrap();
        assert!(none.width() > 600);
    }
}
