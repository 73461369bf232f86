//! Charts of points on the plane.

use gen_report::svg::{Anchor, Scale, tick_label};
use image::{Rgb, RgbImage};
use tch::{Device, Kind, Tensor};

use super::canvas::{Canvas, FAINT, TEXT_HEIGHT, text_width};

/// The part of the plane that a chart shows: the ends of both axes, `[[low, high]; 2]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Window(pub(crate) [[f64; 2]; 2]);

impl Window {
    /// From `low` to `high` on both axes.
    pub(crate) fn square(low: f64, high: f64) -> Self {
        Window([[low, high]; 2])
    }

    /// A square around all finite `points`, so that circles stay round, with a margin.
    pub(crate) fn of(points: &[[f64; 2]]) -> Self {
        let ends = [0, 1].map(|axis: usize| {
            let values = points.iter().map(|point| point[axis]).filter(|value| value.is_finite());
            let (low, high) =
                values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
            if low <= high { (low, high) } else { (-1.0, 1.0) }
        });
        Self::with_margin(ends)
    }

    fn with_margin(ends: [(f64, f64); 2]) -> Self {
        let side = ends.iter().map(|(low, high)| high - low).fold(0.0, f64::max) * 1.1;
        // A window that has no room for different numbers would show nothing.
        let largest = ends.iter().map(|(low, high)| low.abs().max(high.abs())).fold(0.0, f64::max);
        let side = if side > 1e-12 * largest { side } else { largest.max(1.0) };
        Window(ends.map(|(low, high)| [-0.5, 0.5].map(|half| 0.5 * low + 0.5 * high + half * side)))
    }

    /// A square around the middle 99.8 % of the finite values of each of the first two coordinates of `x: [n,
    /// dimension]`, with a margin. Where there is one only, the second axis is around 0.
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
}

/// Points with a second coordinate: numbers `[n, 1]` get one each, spread evenly over as much as they are spread
/// over, so that a chart shows where there are many. `[n, 2 or more]` stays.
pub(crate) fn in_the_plane(x: &Tensor) -> anyhow::Result<Tensor> {
    if x.size()[1] != 1 {
        return Ok(x.shallow_clone());
    }
    let Window([[low, high], _]) = Window::around(x)?;
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

/// A field with or without axes, at a place on a canvas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chart {
    /// Of the upper left corner of the field.
    pub(crate) at: [u32; 2],
    /// Width and height of the field, in pixels.
    pub(crate) size: [u32; 2],
    pub(crate) window: Window,
}

/// Room for the numbers on the left of a field, in pixels.
pub(crate) const LEFT: u32 = 48;
/// Room for the numbers below a field.
pub(crate) const BELOW: u32 = 8 + TEXT_HEIGHT;

impl Chart {
    fn scales(&self) -> [Scale; 2] {
        let [[left, top], [width, height]] = [self.at, self.size].map(|pair| pair.map(f64::from));
        let Window([horizontal, vertical]) = self.window;
        [
            Scale::linear(horizontal[0], horizontal[1], (left, left + width)),
            Scale::linear(vertical[0], vertical[1], (top + height, top)),
        ]
    }

    /// Where a point lies, in pixels.
    pub(crate) fn place(&self, [x, y]: [f64; 2]) -> (f64, f64) {
        let [across, up] = self.scales();
        (across.at(x), up.at(y))
    }

    /// Fills the field, stretched from any picture.
    pub(crate) fn background(&self, canvas: &mut Canvas, picture: &RgbImage) {
        let filter = image::imageops::FilterType::Nearest;
        let picture = image::imageops::resize(picture, self.size[0], self.size[1], filter);
        canvas.paste(&picture, self.at[0], self.at[1]);
    }

    /// Draws points, each in a colour of its own; those outside of the field are left out.
    pub(crate) fn points(
        &self,
        canvas: &mut Canvas,
        points: &[[f64; 2]],
        radius: f64,
        opacity: f64,
        colour: impl Fn(usize) -> Rgb<u8>,
    ) {
        let within =
            |value: f64, start: u32, length: u32| (f64::from(start)..f64::from(start + length)).contains(&value);
        for (i, point) in points.iter().enumerate() {
            let (x, y) = self.place(*point);
            if within(x, self.at[0], self.size[0]) && within(y, self.at[1], self.size[1]) {
                canvas.drawing.dot((x, y), radius, colour(i).0, opacity);
            }
        }
    }

    /// A frame and a title.
    pub(crate) fn frame(&self, canvas: &mut Canvas, title: &str) {
        let Chart { at: [x, y], size: [width, height], .. } = *self;
        canvas.frame([x, y, width, height], 1, FAINT);
        if !title.is_empty() {
            canvas.title(Anchor::Middle, title, x + width / 2, y - TEXT_HEIGHT - 5);
        }
    }

    /// Numbers below and on the left.
    pub(crate) fn axes(&self, canvas: &mut Canvas) {
        let [across, up] = self.scales();
        let (left, bottom) = (f64::from(self.at[0]), f64::from(self.at[1] + self.size[1]));
        for tick in across.ticks(5) {
            let x = across.at(tick);
            canvas.drawing.line("axis", (x, bottom), (x, bottom + 4.0));
            canvas.drawing.text("tick", (x, bottom + 17.0), Anchor::Middle, &tick_label(tick));
        }
        for tick in up.ticks(5) {
            let y = up.at(tick);
            canvas.drawing.line("axis", (left - 4.0, y), (left, y));
            canvas.drawing.text("tick", (left - 7.0, y + 4.0), Anchor::End, &tick_label(tick));
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
    let bar = RgbImage::from_fn(width, height, |_, row| colour(1.0 - f64::from(row) / f64::from(height.max(2) - 1)));
    canvas.paste(&bar, x, y);
    canvas.frame([x, y, width, height], 1, FAINT);
    let up = Scale::linear(0.0, highest, (f64::from(y + height), y.into()));
    let right = f64::from(x + width);
    for tick in up.ticks(5) {
        let y = up.at(tick);
        canvas.drawing.line("axis", (right, y), (right + 4.0, y));
        canvas.drawing.text("tick", (right + 7.0, y + 4.0), Anchor::Start, &tick_label(tick));
    }
}

/// The names of classes with their colours, one below the other.
pub(crate) fn legend(canvas: &mut Canvas, [x, y]: [u32; 2], names: &[String], colour: impl Fn(usize) -> Rgb<u8>) {
    for (i, name) in names.iter().enumerate() {
        let top = y + i as u32 * LEGEND_LINE;
        let middle = (f64::from(x) + 6.0, f64::from(top + TEXT_HEIGHT / 2));
        canvas.drawing.dot(middle, 5.0, colour(i).0, 1.0);
        canvas.text(Anchor::Start, name, x + 18, top);
    }
}

/// Between the lines of a [`legend`].
pub(crate) const LEGEND_LINE: u32 = TEXT_HEIGHT + 4;

/// How wide a [`legend`] is.
pub(crate) fn legend_width(names: &[String]) -> u32 {
    names.iter().map(|name| 18 + text_width(name)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_the_points_and_ignores_what_is_not_finite() {
        let x = Tensor::from_slice(&[0.0, 0.0, 10.0, 2.0, f64::NAN, f64::INFINITY]).view([3, 2]);
        assert_eq!(Window::around(&x).unwrap(), Window([[-0.5, 10.5], [-4.5, 6.5]]));
        let chart = Chart { at: [10, 20], size: [110; 2], window: Window::around(&x).unwrap() };
        assert_eq!(chart.place([-0.5, -4.5]), (10.0, 130.0));
        assert_eq!(chart.place([10.5, 6.5]), (120.0, 20.0));
    }

    #[test]
    fn a_window_has_room_for_numbers_of_any_size() {
        for (low, high) in [(3.0, 3.0), (1e30, 1e30), (1e-21, 2e-21), (2_451_545.0, 2_451_546.0)] {
            let Window([[left, right], _]) = Window::of(&[[low, 0.0], [high, 0.0]]);
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
