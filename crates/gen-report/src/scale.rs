//! Axes: from values to pixels, and round values to write beside them.

/// From values to pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    pixels: (f64, f64),
}

impl Scale {
    /// From `low` to `high`, evenly.
    pub fn linear(low: f64, high: f64, pixels: (f64, f64)) -> Self {
        let high = if high > low { high } else { low + low.abs().max(1.0) };
        Scale { low, high, logarithmic: false, pixels }
    }

    /// From `low` to `high`, both positive, by factors.
    pub fn logarithmic(low: f64, high: f64, pixels: (f64, f64)) -> Self {
        let high = if high > low { high } else { low * 10.0 };
        Scale { low, high, logarithmic: true, pixels }
    }

    /// The pixel of a value.
    pub fn at(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.pixels.0 + part * (self.pixels.1 - self.pixels.0)
    }

    /// Round values within the scale, about `count` of them.
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        if !self.logarithmic {
            return linear_ticks(self.low, self.high, count);
        }
        let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let within = |value: &f64| (self.low * 0.999..=self.high * 1.001).contains(value);
        let of = |steps: &[f64]| -> Vec<f64> {
            decades.clone().flat_map(|d| steps.iter().map(move |step| step * 10f64.powi(d))).filter(within).collect()
        };
        [of(&[1.0, 2.0, 5.0]), of(&[1.0, 3.0]), of(&[1.0])]
            .into_iter()
            .find(|ticks| ticks.len() <= count)
            .unwrap_or_else(|| of(&[1.0]))
    }
}

fn linear_ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count.max(1) as f64;
    let magnitude = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * magnitude);
    let first = (low / step - 1e-9).ceil();
    (0..=count + 1).map(|i| (first + i as f64) * step).take_while(|tick| *tick <= high + step * 1e-9).collect()
}

/// A tick in as few characters as it takes.
pub fn tick_label(value: f64) -> String {
    let shortest = |value: f64| {
        let text = format!("{value:.7}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match value.abs() {
        0.0 => "0".to_owned(),
        1e12.. | ..1e-3 => {
            let exponent = value.abs().log10().floor();
            format!("{}e{exponent}", shortest(value / 10f64.powf(exponent)))
        }
        1e6.. => format!("{}M", shortest(value / 1e6)),
        1e4.. => format!("{}k", shortest(value / 1e3)),
        _ => shortest(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_maps_its_ends_to_its_pixels() {
        let linear = Scale::linear(2.0, 4.0, (0.0, 100.0));
        assert_eq!((linear.at(2.0), linear.at(3.0), linear.at(4.0)), (0.0, 50.0, 100.0));
        let logarithmic = Scale::logarithmic(1.0, 100.0, (100.0, 0.0));
        assert!((logarithmic.at(10.0) - 50.0).abs() < 1e-9);
        assert!(Scale::linear(3.0, 3.0, (0.0, 1.0)).at(3.0).is_finite());
        assert!(Scale::logarithmic(3.0, 3.0, (0.0, 1.0)).at(3.0).is_finite());
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(Scale::linear(0.0, 180.0, (0.0, 1.0)).ticks(4), [0.0, 50.0, 100.0, 150.0]);
        assert_eq!(Scale::linear(-0.3, 0.3, (0.0, 1.0)).ticks(3), [-0.2, 0.0, 0.2]);
        assert_eq!(Scale::logarithmic(50.0, 20_000.0, (0.0, 1.0)).ticks(4), [100.0, 1000.0, 10_000.0]);
        assert_eq!(Scale::logarithmic(9.0, 60.0, (0.0, 1.0)).ticks(4), [10.0, 20.0, 50.0]);
    }

    #[test]
    fn ticks_have_short_labels() {
        let labels = [0.0, 0.25, 0.00125, 150.0, 1500.0, 20_000.0, 2.5e6, -3.0, 1e-5, -2.5e-4, 5e30].map(tick_label);
        assert_eq!(labels, ["0", "0.25", "0.00125", "150", "1500", "20k", "2.5M", "-3", "1e-5", "-2.5e-4", "5e30"]);
    }
}
