//! Training curves: a small panel for each loss of each model, over seconds of training.

use super::Size;
use crate::csv_file::Table;
use crate::models::Model;
use crate::runs::Run;
use crate::svg::{Anchor, Scale, Svg, family_class, tick_label};

/// The curves of one loss in all runs of a model.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) model: String,
    pub(crate) family: String,
    /// The loss, without its prefix.
    pub(crate) loss: String,
    /// One curve a run: seconds and value.
    curves: Vec<Vec<(f64, f64)>>,
}

/// The size of a panel.
pub(crate) const SIZE: Size = (300.0, 168.0);
/// More points than these on a curve cannot be told apart.
const MAX_POINTS: usize = 300;
/// Where the plot lies within the panel: left, top, right, bottom.
const PLOT: (f64, f64, f64, f64) = (46.0, 26.0, 290.0, 142.0);

/// All panels of an experiment, and the notes on histories that cannot be read.
pub(crate) fn read(runs: &[Run]) -> (Vec<Panel>, Vec<String>) {
    let mut panels: Vec<Panel> = Vec::new();
    let mut notes = Vec::new();
    let models = Model::all(runs);
    let of_models = models.iter().flat_map(|model| model.runs.iter().map(|run| (&model.label, *run)));
    for (model, run) in of_models.filter(|(_, run)| !run.is_reference()) {
        let path = run.folder.join("history.csv");
        if !path.exists() {
            continue;
        }
        let table = match Table::read(&path) {
            Ok(table) => table,
            Err(error) => {
                notes.push(format!("{}: history.csv cannot be read: {error}", run.name()));
                continue;
            }
        };
        let Some(seconds) = table.numbers("seconds") else {
            notes.push(format!("{}: history.csv has no column `seconds`", run.name()));
            continue;
        };
        for column in &table.columns {
            let (Some(loss), Some(values)) = (column.strip_prefix("loss_"), table.numbers(column)) else {
                continue;
            };
            let points: Vec<(f64, f64)> =
                seconds.iter().zip(values).filter_map(|(second, value)| Some(((*second)?, value?))).collect();
            if points.len() < 2 {
                continue;
            }
            let curve = thin(&points);
            match panels.iter_mut().find(|panel| panel.model == *model && panel.loss == loss) {
                Some(panel) => panel.curves.push(curve),
                None => panels.push(Panel {
                    model: model.clone(),
                    family: run.family().to_owned(),
                    loss: loss.to_owned(),
                    curves: vec![curve],
                }),
            }
        }
    }
    (panels, notes)
}

/// At most [`MAX_POINTS`] points, each the mean of its neighbours.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |part: &[(f64, f64)]| {
        let n = part.len() as f64;
        (part.iter().map(|p| p.0).sum::<f64>() / n, part.iter().map(|p| p.1).sum::<f64>() / n)
    };
    points.chunks(points.len().div_ceil(MAX_POINTS)).map(mean).collect()
}

/// The longest of all trainings, which all panels share as the end of their time.
pub(crate) fn last_second(panels: &[Panel]) -> f64 {
    panels.iter().flat_map(|panel| &panel.curves).flatten().map(|point| point.0).fold(0.0, f64::max)
}

impl Panel {
    /// What the panel shows, in words.
    pub(crate) fn alt(&self) -> String {
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let first = self.curves.iter().filter_map(|curve| curve.first()).map(|point| point.1).collect();
        let last = self.curves.iter().filter_map(|curve| curve.last()).map(|point| point.1).collect();
        let (first, last) = (mean(first), mean(last));
        format!("{} of {} over seconds of training, from {first:.3} to {last:.3}", self.loss, self.model)
    }

    /// The panel, with a time axis up to `last_second`.
    pub(crate) fn draw(&self, last_second: f64) -> Svg {
        let (left, top, right, bottom) = PLOT;
        let (low, high) = self.range();
        let x = Scale::linear(0.0, last_second, (left, right));
        let y = Scale::linear(low, high, (bottom, top));
        let mut svg = Svg::new();
        svg.text("name", (4.0, 14.0), Anchor::Start, &self.loss.replace('_', " "));
        for tick in y.ticks(4) {
            svg.line("grid", (left, y.at(tick)), (right, y.at(tick)));
            svg.text("tick", (left - 6.0, y.at(tick) + 4.0), Anchor::End, &tick_label(tick));
        }
        svg.line("axis", (left, bottom), (right, bottom));
        let ticks = x.ticks(4);
        for (index, tick) in ticks.iter().enumerate() {
            let unit = if index + 1 == ticks.len() { " s" } else { "" };
            svg.text("tick", (x.at(*tick), bottom + 16.0), Anchor::Middle, &format!("{}{unit}", tick_label(*tick)));
        }
        // A nested element cuts off what leaves the range.
        let (width, height) = (right - left, bottom - top);
        svg.raw(&format!(
            r#"<svg x="{left}" y="{top}" width="{width}" height="{height}" viewBox="{left} {top} {width} {height}">"#
        ));
        for curve in &self.curves {
            let points: Vec<(f64, f64)> = curve.iter().map(|(second, value)| (x.at(*second), y.at(*value))).collect();
            svg.polyline(&format!("curve {}", family_class(&self.family)), &points);
        }
        svg.raw("</svg>");
        svg
    }

    /// The range of all values, or of nearly all where a few are so extreme that they would flatten the rest.
    fn range(&self) -> (f64, f64) {
        let mut values: Vec<f64> = self.curves.iter().flatten().map(|point| point.1).collect();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
        let (low, high) = (at(0.02), at(0.98));
        let far = 2.0 * (high - low);
        let low = if low - at(0.0) > far { low } else { at(0.0) };
        let high = if at(1.0) - high > far { high } else { at(1.0) };
        let margin = 0.06 * (high - low).max(1e-9 + 1e-3 * high.abs());
        (low - margin, high + margin)
    }
}

/// What [`all`] shows, in words.
pub(crate) const ALT: &str = "Training curves: each loss of each model over seconds of training";

/// All panels in one figure, a row a model.
pub(crate) fn all(panels: &[Panel]) -> Option<(Svg, Size)> {
    let last_second = last_second(panels);
    let mut models: Vec<&str> = panels.iter().map(|panel| panel.model.as_str()).collect();
    models.dedup();
    let of = |model: &str| panels.iter().filter(|panel| panel.model == model).collect::<Vec<_>>();
    let columns = models.iter().map(|model| of(model).len()).max()?;
    let (heading, gap) = (36.0, 12.0);
    let mut svg = Svg::new();
    for (row, model) in models.iter().enumerate() {
        let top = row as f64 * (SIZE.1 + heading) + gap;
        svg.text("title", (gap, top + 16.0), Anchor::Start, model);
        for (column, panel) in of(model).iter().enumerate() {
            let left = gap + column as f64 * (SIZE.0 + gap);
            svg.raw(&format!(r#"<g transform="translate({left} {})">"#, top + heading - 8.0));
            svg.raw(panel.draw(last_second).markup());
            svg.raw("</g>");
        }
    }
    let size = (columns as f64 * (SIZE.0 + gap) + gap, models.len() as f64 * (SIZE.1 + heading) + gap);
    Some((svg, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::read_all;
    use crate::testing::run_folder;

    #[test]
    fn a_panel_for_each_loss_and_a_curve_for_each_seed() {
        let folder = tempfile::tempdir().unwrap();
        let evaluation = "family,model\nvae,vae\n";
        let history = "step,seconds,loss_elbo,loss_kl\n50,1.5,3.0,0.1\n100,3.0,2.0,\n150,4.5,NaN,0.3\n";
        for seed in 0..2 {
            let run = run_folder(folder.path(), &format!("vae-d-s{seed}"), Some(evaluation));
            std::fs::write(run.join("history.csv"), history).unwrap();
        }
        let torn = run_folder(folder.path(), "dcgan-d-s0", None);
        std::fs::write(torn.join("history.csv"), "step,seconds,loss_g\n50,1.5,3.0\n100,3").unwrap();
        let (panels, notes) = read(&read_all(folder.path()).unwrap());
        let names: Vec<(&str, usize)> = panels.iter().map(|p| (p.loss.as_str(), p.curves.len())).collect();
        assert_eq!(names, [("elbo", 2), ("kl", 2)]);
        assert_eq!(panels[0].curves[0], [(1.5, 3.0), (3.0, 2.0)]);
        assert_eq!(panels[1].curves[0], [(1.5, 0.1), (4.5, 0.3)]);
        assert_eq!(notes, ["dcgan-d-s0: history.csv cannot be read: its last line is cut off"]);
        assert_eq!(last_second(&panels), 4.5);
        assert!(panels[0].draw(4.5).markup().contains("<polyline"));
        assert!(all(&panels).unwrap().0.markup().contains("<polyline"));
        assert!(all(&[]).is_none());
    }

    #[test]
    fn long_curves_are_thinned_to_means() {
        let points: Vec<(f64, f64)> = (0..600).map(|i| (f64::from(i), 1.0)).collect();
        let thinned = thin(&points);
        assert_eq!(thinned.len(), 300);
        assert_eq!(thinned[0], (0.5, 1.0));
    }

    #[test]
    fn a_constant_curve_has_a_range() {
        let panel = Panel {
            model: String::new(),
            family: String::new(),
            loss: String::new(),
            curves: vec![vec![(0.0, 2.0), (1.0, 2.0)]],
        };
        let (low, high) = panel.range();
        assert!(low < 2.0 && high > 2.0);
    }
}
