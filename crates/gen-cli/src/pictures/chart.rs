//! Charts of points on the plane.

use image::{Rgb, RgbImage};
use tch::{Device, Kind, Tensor};

use super::canvas::{Canvas, FAINT, INK, TEXT_HEIGHT, text_width};

/// The part of the plane that a chart shows: a square, so that circles stay round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Window {
    low: [f64; 2],
    side: f64,
}

impl Window {
    /// From `low` to `high` on both axes.
    pub(crate) fn square(low: f64, high: f64) -> Self {
        Window { low: [low; 2], side: high - low }
    }

    /// Around all finite `points`, with a margin.
    pub(crate) fn of(points: &[[f64; 2]]) -> Self {
        let ends = [0, 1].map(|axis: usize| {
            let values = points.iter().map(|point| point[axis]).filter(|value| value.is_finite());
            let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
            if low <= high { (low, high) } else { (-1.0, 1.0) }
        });
        Self::with_margin(ends)
    }

    fn with_margin(ends: [(f64, f64); 2]) -> Self {
        let side = ends.iter().map(|(low, high)| high - low).fold(0.0, f64::max) * 1.1;
        // A window that has no room for different numbers would show nothing.
        let largest = ends.iter().map(|(low, high)| low.abs().max(high.abs())).fold(0.0, f64::max);
        let side = if side > 1e-12 * largest { side } else { largest.max(1.0) };
        Window { low: ends.map(|(low, high)| 0.5 * low + 0.5 * high - 0.5 * side), side }
    }

    /// Around the middle 99.8 % of the finite values of each of the first two coordinates of `x: [n, dimension]`, with a
    /// margin. Where there is one only, the second axis is around 0.
    pub(crate) fn around(x: &Tensor) -> anyhow::Result<Self> {
        let mut ends = [(0.0, 0.0); 2];
        for (axis, ends) in (0..x.size()[1].min(2)).zip(&mut ends) {
            let column = x.select(1, axis).to_kind(Kind::Double).to_device(Device::Cpu);
            let (mut values, _) = column.masked_select(&column.isfinite()).sort(0, false);
            if values.numel() == 0 {
                values = Tensor::from_slice(&[-1.0, 1.0]);
            }
            let last = values.size()[0] - 1;
            let at = |share: f64| values.double_value(&[(share * last as f64).round() as i64]);
            *ends = (at(0.001), at(0.999));
        }
        Ok(Self::with_margin(ends))
    }

    /// The ends of both axes: `[[low, high]; 2]`.
    pub(crate) fn ends(&self) -> [[f64; 2]; 2] {
        self.low.map(|low| [low, low + self.side])
    }
}

/// Points with a second coordinate: numbers `[n, 1]` get one each, spread evenly over as much as they are spread over, so
/// that a chart shows where there are many. `[n, 2 or more]` stays.
pub(crate) fn in_the_plane(x: &Tensor) -> anyhow::Result<Tensor> {
    if x.size()[1] != 1 {
        return Ok(x.shallow_clone());
    }
    let [[low, high], _] = Window::around(x)?.ends();
    // Multiples of the golden ratio, without their whole parts, are spread evenly however many there are.
    let n = x.size()[0];
    let golden = Tensor::arange(n, (Kind::Double, x.device())) * 0.618_033_988_749_895;
    let places = (&golden - golden.floor() - 0.5) * (0.8 * (high - low));
    Ok(Tensor::cat(&[x.to_kind(Kind::Double), places.unsqueeze(1)], 1))
}

/// The first two coordinates of the rows of `x: [n, 2 or more]`.
pub(crate) fn coordinates(x: &Tensor) -> anyhow::Result<Vec<[f64; 2]>> {
    let column = |axis| Vec::<f64>::try_from(x.select(1, axis).to_kind(Kind::Double).to_device(Device::Cpu));
    Ok(column(0)?.into_iter().zip(column(1)?).map(|(x, y)| [x, y]).collect())
}

/// A square field for points, with or without axes, at a place on a canvas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chart {
    /// Of the upper left corner of the field.
    pub(crate) at: [u32; 2],
    /// Of the field, in pixels.
    pub(crate) side: u32,
    pub(crate) window: Window,
}

/// Room for the numbers on the left of a field, in pixels.
pub(crate) const LEFT: u32 = 48;
/// Room for the numbers below a field.
pub(crate) const BELOW: u32 = 8 + TEXT_HEIGHT;

impl Chart {
    /// Where a point lies, in pixels.
    pub(crate) fn place(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let part = |value: f64, axis: usize| (value - self.window.low[axis]) / self.window.side;
        let side = f64::from(self.side);
        [f64::from(self.at[0]) + part(x, 0) * side, f64::from(self.at[1]) + (1.0 - part(y, 1)) * side]
    }

    /// Fills the field, stretched from any square picture.
    pub(crate) fn background(&self, canvas: &mut Canvas, picture: &RgbImage) {
        let filter = image::imageops::FilterType::Nearest;
        let picture = image::imageops::resize(picture, self.side, self.side, filter);
        canvas.paste(&picture, self.at[0], self.at[1]);
    }

    /// Draws points, each in a colour of its own; those outside of the field are left out.
    pub(crate) fn points(
        &self,
        canvas: &mut Canvas,
        points: &[[f64; 2]],
        radius: f64,
        weight: f64,
        colour: impl Fn(usize) -> Rgb<u8>,
    ) {
        for (i, point) in points.iter().enumerate() {
            let place = self.place(*point);
            if self.holds(place) {
                canvas.dot(place, radius, colour(i), weight);
            }
        }
    }

    fn holds(&self, place: [f64; 2]) -> bool {
        (0..2).all(|axis| {
            let start = f64::from(self.at[axis]);
            place[axis] >= start && place[axis] < start + f64::from(self.side)
        })
    }

    /// A frame and a title.
    pub(crate) fn frame(&self, canvas: &mut Canvas, title: &str) {
        let Chart { at: [x, y], side, .. } = *self;
        canvas.frame([x, y, side, side], 1, FAINT);
        let above = i64::from(y) - i64::from(TEXT_HEIGHT) - 5;
        canvas.text_centred(title, i64::from(x + side / 2), above, INK);
    }

    /// Numbers below and on the left.
    pub(crate) fn axes(&self, canvas: &mut Canvas) {
        let Chart { at: [left, top], side, .. } = *self;
        let [horizontal, vertical] = self.window.ends();
        let bottom = i64::from(top + side);
        for tick in ticks(horizontal[0], horizontal[1]) {
            let [x, _] = self.place([tick.0, 0.0]);
            canvas.fill([x as u32, top + side, 1, 4], INK);
            canvas.text_centred(&tick.1, x as i64, bottom + 5, INK);
        }
        for tick in ticks(vertical[0], vertical[1]) {
            let [_, y] = self.place([0.0, tick.0]);
            canvas.fill([left - 4, y as u32, 4, 1], INK);
            canvas.text_to(&tick.1, i64::from(left) - 7, y as i64 - i64::from(TEXT_HEIGHT) / 2, INK);
        }
    }
}

/// A bar that says what the colours stand for, from 0 to `highest`, with its numbers on the right.
pub(crate) fn colour_bar(
    canvas: &mut Canvas,
    [x, y, width, height]: [u32; 4],
    highest: f64,
    colour: impl Fn(f64) -> Rgb<u8>,
) {
    for row in 0..height {
        let value = 1.0 - f64::from(row) / f64::from(height.max(2) - 1);
        canvas.fill([x, y + row, width, 1], colour(value));
    }
    canvas.frame([x, y, width, height], 1, FAINT);
    for (value, label) in ticks(0.0, highest) {
        let v = f64::from(y) + (1.0 - value / highest) * f64::from(height - 1);
        canvas.fill([x + width, v as u32, 4, 1], INK);
        canvas.text(&label, i64::from(x + width) + 7, v as i64 - i64::from(TEXT_HEIGHT) / 2, INK);
    }
}

/// The names of classes with their colours, one below the other.
pub(crate) fn legend(
    canvas: &mut Canvas,
    [x, y]: [u32; 2],
    names: &[String],
    colour: impl Fn(usize) -> Rgb<u8>,
) {
    for (i, name) in names.iter().enumerate() {
        let top = y + i as u32 * LEGEND_LINE;
        let middle = f64::from(top) + f64::from(TEXT_HEIGHT) / 2.0;
        canvas.dot([f64::from(x) + 6.0, middle], 5.0, colour(i), 1.0);
        canvas.text(name, i64::from(x) + 18, top.into(), INK);
    }
}

/// Between the lines of a [`legend`].
pub(crate) const LEGEND_LINE: u32 = TEXT_HEIGHT + 4;

/// How wide a [`legend`] is.
pub(crate) fn legend_width(names: &[String]) -> u32 {
    names.iter().map(|name| 18 + text_width(name)).max().unwrap_or(0)
}

/// About five round numbers from `low` to `high`, and how they are written.
pub(super) fn ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    if !(high > low && high.is_finite() && low.is_finite()) {
        return Vec::new();
    }
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let exponent = step.log10().floor() as i32;
    let digits = (-exponent).clamp(0, 12) as usize;
    let first = (low / step).ceil() as i64;
    let last = (high / step * (1.0 + 1e-12)).floor() as i64;
    let label = |value: f64| match exponent {
        -4..=4 => format!("{value:.digits$}"),
        _ => format!("{value:.0e}"),
    };
    // -0 is written as 0.
    (first..=last).map(|i| i as f64 * step + 0.0).map(|value| (value, label(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let labels = |low, high| -> Vec<String> { ticks(low, high).into_iter().map(|tick| tick.1).collect() };
        assert_eq!(labels(-4.0, 4.0), ["-4", "-2", "0", "2", "4"]);
        assert_eq!(labels(0.0, 0.23), ["0.00", "0.05", "0.10", "0.15", "0.20"]);
        assert_eq!(labels(0.0, 1e-7), ["0e0", "2e-8", "4e-8", "6e-8", "8e-8", "1e-7"]);
        assert!(labels(1.0, 1.0).is_empty() && labels(0.0, f64::INFINITY).is_empty());
    }

    #[test]
    fn a_window_holds_the_points_and_ignores_what_is_not_finite() {
        let x = Tensor::from_slice(&[0.0, 0.0, 10.0, 2.0, f64::NAN, f64::INFINITY]).view([3, 2]);
        let [horizontal, vertical] = Window::around(&x).unwrap().ends();
        assert_eq!((horizontal, vertical), ([-0.5, 10.5], [-4.5, 6.5]));
        let chart = Chart { at: [10, 20], side: 110, window: Window::around(&x).unwrap() };
        assert_eq!(chart.place([-0.5, -4.5]), [10.0, 130.0]);
        assert_eq!(chart.place([10.5, 6.5]), [120.0, 20.0]);
    }
    #[test]
    fn a_window_has_room_for_numbers_of_any_size() {
        for (low, high) in [(3.0, 3.0), (1e30, 1e30), (1e-21, 2e-21), (2_451_545.0, 2_451_546.0)] {
            let [[left, right], _] = Window::of(&[[low, 0.0], [high, 0.0]]).ends();
            assert!(left < low && high < right, "{low} to {high} in {left} to {right}");
        }
    }

    #[test]
    fn numbers_get_a_place_in_the_plane() {
        let x = Tensor::from_slice(&[1.0, 2.0, 3.0]).view([3, 1]);
        let points = coordinates(&in_the_plane(&x).unwrap()).unwrap();
        assert_eq!(points.iter().map(|point| point[0]).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
        assert!(points.iter().all(|point| point[1].abs() <= 1.1) && points[0][1] != points[1][1]);
        let two = Tensor::from_slice(&[1.0, 2.0]).view([1, 2]);
        assert_eq!(in_the_plane(&two).unwrap(), two);
    }
}
