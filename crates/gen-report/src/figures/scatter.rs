//! Distance from the data against what it costs: a mark a model.

use super::{Figure, NARROW, Size, WIDE};
use crate::comparison::{Comparison, spoken_space};
use crate::measures::Format;
use crate::metric::Key;
use crate::ranking;
use crate::svg::{Anchor, Scale, Svg, text_width, tick_label};

/// A model: what it costs, and how far its samples are from the data.
#[derive(Debug)]
struct Point {
    name: String,
    family: String,
    cost: f64,
    distance: f64,
    /// Lowest and highest distance over seeds.
    range: (f64, f64),
    /// The part of the data that samples reach.
    coverage: Option<f64>,
}

/// What a figure shows.
#[derive(Debug)]
struct Scatter {
    points: Vec<Point>,
    /// Models that have no place, and why.
    left_out: Vec<String>,
    /// The distance between training and test data.
    floor: Option<f64>,
    /// What is up.
    title: String,
    /// What is to the right.
    across: &'static str,
    /// Whether the cost goes by factors; otherwise its axis begins at 0.
    logarithmic: bool,
    /// Whether more is better, so that there is a front of what nothing beats in both.
    front: bool,
}

/// The trilemma: distance against samples a second, coverage as rings. `None` where no model has both numbers.
pub(crate) fn trilemma(comparison: &Comparison<'_>) -> Option<Figure> {
    let speed = comparison.cost("sample_images_per_second")?;
    let coverage = comparison.coverage.as_ref();
    let scatter = Scatter {
        across: "samples a second (further right is faster)",
        logarithmic: true,
        front: true,
        ..Scatter::of(comparison, &speed, coverage)?
    };
    let what = if coverage.is_some() { ", with the part of the data that is covered" } else { "" };
    let alt = scatter.alt(&format!("against samples a second{what}"), " samples a second");
    Some(scatter.figure("quality-speed", alt))
}

/// Distance against seconds of training.
pub(crate) fn training_time(comparison: &Comparison<'_>) -> Option<Figure> {
    let seconds = comparison.cost("train_seconds")?;
    let scatter = Scatter::of(comparison, &seconds, None)?;
    let bounds = bounds(scatter.points.iter().map(|point| point.cost));
    let scatter = Scatter {
        across: "seconds of training (further left is cheaper)",
        logarithmic: bounds.1 / bounds.0 > 8.0,
        ..scatter
    };
    let alt = scatter.alt("against seconds of training", " seconds");
    Some(scatter.figure("quality-training", alt))
}

/// The lowest and the highest of positive values.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), v| (low.min(v), high.max(v)))
}

impl Scatter {
    fn of(comparison: &Comparison<'_>, cost: &Key, coverage: Option<&Key>) -> Option<Self> {
        let distance = comparison.distance.as_ref()?;
        let (mut points, mut left_out) = (Vec::new(), Vec::new());
        for model in comparison.trained() {
            let Some(seeds) = model.seeds(distance) else { continue };
            let known = model.seeds(cost).map(|seeds| seeds.mean).filter(|cost| *cost > 0.0 && cost.is_finite());
            let elsewhere = comparison.costs(&cost.metric).iter().any(|key| model.seeds(key).is_some());
            match known {
                Some(cost) if seeds.min > 0.0 && seeds.is_finite() => points.push(Point {
                    name: model.label.clone(),
                    family: model.family().to_owned(),
                    cost,
                    distance: seeds.mean,
                    range: (seeds.min, seeds.max),
                    coverage: coverage
                        .and_then(|key| model.seeds(key))
                        .map(|seeds| seeds.mean)
                        .filter(|share| share.is_finite()),
                }),
                Some(_) => {
                    left_out.push(format!("{} at a distance of {}", model.label, Format::Significant.write(seeds.mean)))
                }
                None if elsewhere => {
                    left_out.push(format!("{}, timed under other circumstances", model.label));
                }
                None => {}
            }
        }
        let floor = ranking::floor(&comparison.models, distance).filter(|floor| *floor > 0.0);
        let name = if distance.metric == "fd" { "Fréchet distance" } else { "distance" };
        let title = format!("{name}, {} (lower is better)", spoken_space(&distance.space));
        let scatter = Scatter { points, left_out, floor, title, across: "", logarithmic: false, front: false };
        (!scatter.points.is_empty()).then_some(scatter)
    }

    fn figure(self, name: &'static str, alt: String) -> Figure {
        let drawn = Figure::new(name, alt, [WIDE, NARROW], |size| self.draw(size));
        Figure { left_out: self.left_out, ..drawn }
    }

    /// What the figure shows, in words.
    fn alt(&self, against: &str, unit: &str) -> String {
        let points: Vec<String> = self
            .points
            .iter()
            .map(|p| {
                let coverage = p.coverage.map(|share| format!(" and {:.0} % covered", 100.0 * share));
                let cost = Format::Significant.write(p.cost);
                let distance = Format::Significant.write(p.distance);
                format!("{} at {cost}{unit}, distance {distance}{}", p.name, coverage.unwrap_or_default())
            })
            .collect();
        let floor = self.floor.map(|floor| format!("; the floor is {}", Format::Significant.write(floor)));
        format!("Distance from the data {against}: {}{}", points.join("; "), floor.unwrap_or_default())
    }

    fn draw(&self, (width, height): Size) -> Svg {
        let (left, top, right, bottom) = (54.0, 34.0, width - 18.0, height - 46.0);
        let (least, most) = bounds(self.points.iter().map(|point| point.cost));
        let ends = self.points.iter().flat_map(|point| [point.range.0, point.range.1]);
        let (near, far) = bounds(ends.chain(self.floor));
        let x = if self.logarithmic {
            Scale::logarithmic(least / 2.0, most * 2.0, (left, right))
        } else {
            Scale::linear(0.0, most * 1.15, (left, right))
        };
        let y = if far / near > 30.0 {
            Scale::logarithmic(near / 1.5, far * 1.6, (bottom, top))
        } else {
            Scale::linear(0.0, far * 1.14, (bottom, top))
        };
        let mut svg = Svg::new();
        svg.text("name", (4.0, 16.0), Anchor::Start, &self.title);
        for tick in y.ticks(6) {
            svg.line("grid", (left, y.at(tick)), (right, y.at(tick)));
            svg.text("tick", (left - 8.0, y.at(tick) + 4.0), Anchor::End, &tick_label(tick));
        }
        for tick in x.ticks((width / 90.0) as usize) {
            svg.line("grid", (x.at(tick), top), (x.at(tick), bottom));
            svg.text("tick", (x.at(tick), bottom + 18.0), Anchor::Middle, &tick_label(tick));
        }
        svg.line("axis", (left, bottom), (right, bottom));
        svg.text("name", (right, bottom + 38.0), Anchor::End, self.across);
        if let Some(floor) = self.floor {
            svg.line("reference", (left, y.at(floor)), (right, y.at(floor)));
            let text = format!("floor {}: training data against test data", Format::Significant.write(floor));
            svg.text("tick", (left + 6.0, y.at(floor) - 6.0), Anchor::Start, &text);
        }
        let at = |point: &Point| (x.at(point.cost), y.at(point.distance));
        if self.front {
            self.draw_front(&mut svg, at, (left, top));
        }
        for point in self.points.iter().filter(|point| point.range.1 > point.range.0) {
            let class = format!("range {}", crate::svg::family_class(&point.family));
            let x = x.at(point.cost);
            svg.line(&class, (x, y.at(point.range.0)), (x, y.at(point.range.1)));
        }
        self.draw_points(&mut svg, at, (left, right));
        svg
    }

    /// The stairs below and to the right of which there is no model.
    fn draw_front(&self, svg: &mut Svg, at: impl Fn(&Point) -> (f64, f64), (left, top): (f64, f64)) {
        let mut points: Vec<(f64, f64)> = self.points.iter().map(at).collect();
        points.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
        let mut stairs: Vec<(f64, f64)> = Vec::new();
        for (x, y) in points {
            // Pixels grow downwards: a larger y is a smaller distance.
            match stairs.last().copied() {
                None => stairs.extend([(x, top), (x, y)]),
                Some((_, lowest)) if y > lowest => stairs.extend([(x, lowest), (x, y)]),
                Some(_) => {}
            }
        }
        if let Some((_, lowest)) = stairs.last().copied() {
            stairs.push((left, lowest));
            svg.polyline("front", &stairs);
        }
    }

    /// Marks, and names beside them that keep clear of each other and of the marks of others.
    fn draw_points(&self, svg: &mut Svg, at: impl Fn(&Point) -> (f64, f64), (left, right): (f64, f64)) {
        const LINE: f64 = 16.0;
        const RING: f64 = 14.0;
        const MARK: f64 = 7.0;
        let mut points: Vec<(&Point, (f64, f64))> = self.points.iter().map(|point| (point, at(point))).collect();
        points.sort_by(|a, b| a.1.1.total_cmp(&b.1.1));
        let mut placed: Vec<(f64, f64, f64)> = Vec::new();
        for (point, (x, y)) in &points {
            let name = match point.coverage {
                Some(share) => format!("{} {:.0} %", point.name, 100.0 * share),
                None => point.name.clone(),
            };
            let length = text_width(&name);
            let gap = if point.coverage.is_some() { RING + 7.0 } else { 14.0 };
            let to_the_left = x + gap + length > right && x - gap - length > left;
            let start = if to_the_left { x - gap - length } else { x + gap };
            let mut line = *y;
            let others = points.iter().filter(|(other, _)| !std::ptr::eq(*other, *point));
            let marks = others.map(|(other, (x, y))| {
                let radius = if other.coverage.is_some() { RING } else { MARK };
                (x - radius, x + radius, *y, radius + LINE / 2.0)
            });
            let taken: Vec<(f64, f64, f64, f64)> =
                placed.iter().map(|&(from, to, at)| (from, to, at, LINE)).chain(marks).collect();
            // Past what is in the way, downwards each time, by no less than rounding could take back.
            while let Some((_, _, at, clearance)) = taken.iter().find(|(from, to, at, clearance)| {
                *from < start + length && start < *to && (line - at).abs() < clearance - 1e-6
            }) {
                line = at + clearance;
            }
            placed.push((start, start + length, line));
            let anchor = if to_the_left { Anchor::End } else { Anchor::Start };
            let text_x = if to_the_left { x - gap } else { x + gap };
            if (line - y).abs() > 1.0 {
                svg.line("lead", (*x, *y), (text_x, line));
            }
            svg.text("label", (text_x, line + 4.0), anchor, &name);
        }
        for (point, at) in &points {
            if let Some(share) = point.coverage {
                svg.arc("track", *at, RING, 1.0);
                svg.arc(&format!("gauge {}", crate::svg::family_class(&point.family)), *at, RING, share);
            }
            let title = format!("{}: {:.4} at {:.0}", point.name, point.distance, point.cost);
            svg.mark(&point.family, *at, &title);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::read_all;
    use crate::testing::run_folder;

    fn point(name: &str, cost: f64, distance: f64) -> Point {
        let range = (distance, distance);
        Point { name: name.to_owned(), family: "vae".to_owned(), cost, distance, range, coverage: None }
    }

    fn scatter(points: Vec<Point>) -> Scatter {
        Scatter {
            points,
            left_out: Vec::new(),
            floor: None,
            title: String::new(),
            across: "",
            logarithmic: true,
            front: true,
        }
    }

    #[test]
    fn models_with_both_numbers_are_points_and_the_floor_is_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let row = |model: &str, speed: &str, fd: &str| {
            format!(
                "family,model,feature_space,sample_images_per_second,fd,coverage\n{model},{model},pca-2,{speed},\
                 {fd},0.5\n"
            )
        };
        run_folder(folder.path(), "gan-d-s0", Some(&row("gan", "5000", "20")));
        run_folder(folder.path(), "vae-d-s0", Some(&row("vae", "", "30")));
        run_folder(folder.path(), "flow-d-s0", Some(&row("flow", "100", "inf")));
        let floor = "family,model,feature_space,fd\nreference,floor,pca-2,1.5\n";
        run_folder(folder.path(), "reference-floor", Some(floor));
        let runs = read_all(folder.path()).unwrap();
        let figure = trilemma(&Comparison::of(&runs)).unwrap();
        let markup = figure.wide.0.markup();
        assert_eq!(markup.matches("class=\"mark").count(), 1);
        assert!(markup.contains("family-gan") && markup.contains("floor 1.50"), "{markup}");
        assert!(markup.contains("gan 50 %") && markup.contains("class=\"gauge family-gan\""), "{markup}");
        assert!(figure.alt.contains("gan at 5,000 samples a second, distance 20.0 and 50 % covered"));
        assert_eq!(figure.left_out, ["flow at a distance of inf"]);
        assert!(training_time(&Comparison::of(&runs)).is_none());
        assert!(trilemma(&Comparison::of(&[])).is_none());
    }

    #[test]
    fn the_front_passes_what_is_beaten_in_both() {
        let scatter = scatter(vec![point("slow", 1.0, 1.0), point("beaten", 5.0, 9.0), point("fast", 10.0, 4.0)]);
        let mut svg = Svg::new();
        // Pixels grow downwards.
        scatter.draw_front(&mut svg, |point| (point.cost, 10.0 - point.distance), (0.0, 0.0));
        let expected = "10.0,0.0 10.0,6.0 1.0,6.0 1.0,9.0 0.0,9.0";
        assert!(svg.markup().contains(expected), "{}", svg.markup());
    }

    #[test]
    fn names_of_close_points_do_not_overlap() {
        let scatter = scatter(vec![point("one", 1.0, 1.0), point("two", 1.0, 1.0)]);
        let markup = scatter.draw((400.0, 300.0)).markup().to_owned();
        let height = |name: &str| -> f64 {
            let before = markup.split(&format!("\" text-anchor=\"start\">{name}<")).next().unwrap();
            before.rsplit("y=\"").next().unwrap().parse().unwrap()
        };
        assert!((height("one") - height("two")).abs() > 15.8);
    }

    #[test]
    fn a_name_keeps_clear_of_the_mark_beside_it() {
        let covered = |name, cost, distance| Point { coverage: Some(0.5), ..point(name, cost, distance) };
        let leads = |cost: f64| {
            let points = vec![covered("left", 1.0, 1.0), covered("right", cost, 1.0), covered("far", 1e6, 100.0)];
            scatter(points).draw((400.0, 300.0)).markup().matches("class=\"lead\"").count()
        };
        // Far from the other, a name is beside its mark; near it, it is below, and a line leads there.
        assert_eq!([leads(1e6), leads(2.0)], [0, 1]);
    }
}
