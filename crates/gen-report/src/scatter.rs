//! Quality against sampling speed.

use super::columns::Format;
use super::runs::Run;
use super::summary::label;
use super::svg::{Anchor, Scale, Svg, tick_label};

/// A trained model: how fast it samples, and how far its samples are from the data.
#[derive(Debug)]
struct Point {
    name: String,
    family: String,
    speed: f64,
    distance: f64,
}

/// What the figure shows.
#[derive(Debug)]
pub(super) struct Scatter {
    points: Vec<Point>,
    /// The distance between training and test data.
    floor: Option<f64>,
}

impl Scatter {
    /// `None` where no run has both numbers.
    pub(super) fn of(runs: &[Run]) -> Option<Self> {
        let positive = |run: &Run, column| run.number(column).filter(|value| *value > 0.0);
        let points: Vec<Point> = runs
            .iter()
            .filter(|run| run.is_done() && !run.is_reference())
            .filter_map(|run| {
                Some(Point {
                    name: label(run, runs),
                    family: run.family().to_owned(),
                    speed: positive(run, "sample_images_per_second")?,
                    distance: positive(run, "fd")?,
                })
            })
            .collect();
        let floor_row = runs.iter().find(|run| run.is_reference() && run.model() == "floor");
        let floor = floor_row
            .and_then(|run| positive(run, "fd"))
            .or_else(|| runs.iter().find_map(|run| positive(run, "fd_floor")));
        (!points.is_empty()).then_some(Scatter { points, floor })
    }

    /// What the figure shows, in words.
    pub(super) fn alt(&self) -> String {
        let points: Vec<String> = self
            .points
            .iter()
            .map(|p| {
                format!("{} at {:.0} samples a second and a distance of {:.3}", p.name, p.speed, p.distance)
            })
            .collect();
        format!("Fréchet distance against samples a second: {}", points.join("; "))
    }

    pub(super) fn draw(&self, (width, height): (f64, f64)) -> Svg {
        let (left, top, right, bottom) = (54.0, 34.0, width - 16.0, height - 46.0);
        let bounds = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), v| (low.min(v), high.max(v)))
        };
        let (slow, fast) = bounds(&mut self.points.iter().map(|point| point.speed));
        let (near, far) = bounds(&mut self.points.iter().map(|point| point.distance).chain(self.floor));
        let x = Scale::logarithmic(slow / 2.0, fast * 2.0, (left, right));
        let y = if far / near > 30.0 {
            Scale::logarithmic(near / 1.5, far * 1.5, (bottom, top))
        } else {
            Scale::linear(0.0, far * 1.12, (bottom, top))
        };
        let mut svg = Svg::new();
        svg.text("name", (4.0, 16.0), Anchor::Start, "Fréchet distance (lower is better)");
        for tick in y.ticks(6) {
            svg.line("grid", (left, y.at(tick)), (right, y.at(tick)));
            svg.text("tick", (left - 8.0, y.at(tick) + 4.0), Anchor::End, &tick_label(tick));
        }
        for tick in x.ticks((width / 90.0) as usize) {
            svg.line("grid", (x.at(tick), top), (x.at(tick), bottom));
            svg.text("tick", (x.at(tick), bottom + 18.0), Anchor::Middle, &tick_label(tick));
        }
        svg.line("axis", (left, bottom), (right, bottom));
        svg.text("name", (right, bottom + 38.0), Anchor::End, "samples a second (further right is faster)");
        if let Some(floor) = self.floor {
            svg.line("reference", (left, y.at(floor)), (right, y.at(floor)));
            let text = format!("floor {}: training data against test data", Format::Significant.write(floor));
            svg.text("tick", (left + 6.0, y.at(floor) - 6.0), Anchor::Start, &text);
        }
        self.draw_points(&mut svg, |point| (x.at(point.speed), y.at(point.distance)), (left, right));
        svg
    }

    /// Marks, and names beside them that keep clear of each other.
    fn draw_points(&self, svg: &mut Svg, at: impl Fn(&Point) -> (f64, f64), (left, right): (f64, f64)) {
        const LINE: f64 = 16.0;
        const LETTER: f64 = 6.8;
        let mut points: Vec<(&Point, (f64, f64))> =
            self.points.iter().map(|point| (point, at(point))).collect();
        points.sort_by(|a, b| a.1.1.total_cmp(&b.1.1));
        let mut placed: Vec<(f64, f64, f64)> = Vec::new();
        for (point, (x, y)) in &points {
            let length = point.name.chars().count() as f64 * LETTER;
            let to_the_left = x + 14.0 + length > right && x - 14.0 - length > left;
            let start = if to_the_left { x - 14.0 - length } else { x + 14.0 };
            let mut line = *y;
            // Points come from top to bottom, so a name in the way is above.
            while let Some(other) = placed
                .iter()
                .find(|(from, to, at)| *from < start + length && start < *to && (line - at).abs() < LINE)
            {
                line = other.2 + LINE;
            }
            placed.push((start, start + length, line));
            let anchor = if to_the_left { Anchor::End } else { Anchor::Start };
            let text_x = if to_the_left { x - 14.0 } else { x + 14.0 };
            if (line - y).abs() > 1.0 {
                svg.line("lead", (*x, *y), (text_x, line));
            }
            svg.text("name", (text_x, line + 4.0), anchor, &point.name);
        }
        for (point, at) in &points {
            let title = format!("{}: {:.4} at {:.0} samples/s", point.name, point.distance, point.speed);
            svg.mark(&point.family, *at, &title);
        }
    }

    pub(super) fn file(&self) -> String {
        let size = (720.0, 440.0);
        self.draw(size).file(size, &self.alt())
    }
}

#[cfg(test)]
mod tests {
    use super::super::runs::read_all;
    use super::super::runs::tests::run_folder;
    use super::*;

    #[test]
    fn runs_with_both_numbers_are_points_and_the_floor_is_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let row = |model: &str, speed: &str, fd: &str| {
            format!("family,model,sample_images_per_second,fd\n{model},{model},{speed},{fd}\n")
        };
        run_folder(folder.path(), "gan-d-s0", Some(&row("gan", "5000", "20")));
        run_folder(folder.path(), "vae-d-s0", Some(&row("vae", "", "30")));
        run_folder(folder.path(), "flow-d-s0", Some(&row("flow", "100", "inf")));
        run_folder(folder.path(), "reference-floor", Some("family,model,fd\nreference,floor,1.5\n"));
        let scatter = Scatter::of(&read_all(folder.path()).unwrap()).unwrap();
        assert_eq!(scatter.points.len(), 1);
        assert_eq!(scatter.floor, Some(1.5));
        let markup = scatter.draw((720.0, 440.0)).markup().to_owned();
        assert!(markup.contains("family-gan") && markup.contains("floor 1.50"), "{markup}");
    }

    #[test]
    fn without_points_there_is_no_figure() {
        assert!(Scatter::of(&[]).is_none());
    }

    #[test]
    fn names_of_close_points_do_not_overlap() {
        let point =
            |name: &str| Point { name: name.to_owned(), family: "vae".to_owned(), speed: 1.0, distance: 1.0 };
        let scatter = Scatter { points: vec![point("one"), point("two")], floor: None };
        let markup = scatter.draw((400.0, 300.0)).markup().to_owned();
        let height = |name: &str| -> f64 {
            let before = markup.split(&format!("\" text-anchor=\"start\">{name}<")).next().unwrap();
            before.rsplit("y=\"").next().unwrap().parse().unwrap()
        };
        assert!((height("one") - height("two")).abs() > 15.8);
    }
}
