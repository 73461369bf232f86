//! Class by class: the distance within each, and how many samples are of each.

use super::{Figure, NARROW, Size};
use crate::comparison::Comparison;
use crate::config::class_names;
use crate::measures::Format;
use crate::ranking;
use crate::svg::{Anchor, Scale, Svg, text_width, tick_label};

/// What is shown of each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// The distance within it, over factors.
    Distance,
    /// The part of the samples that are of it, from 0.
    Share,
}

impl Of {
    fn metric(self) -> &'static str {
        match self {
            Of::Distance => "class_fd",
            Of::Share => "class_share",
        }
    }
}

/// A number of the models, class by class.
#[derive(Debug)]
pub(crate) struct Classes {
    of: Of,
    /// The number of training rows in place of samples, a class.
    floors: Vec<Option<f64>>,
    /// Numbers of the classes.
    pub(crate) numbers: Vec<String>,
    /// Their names; where there is none, the number.
    pub(crate) names: Vec<String>,
    /// Name, family, and a number a class.
    pub(crate) models: Vec<(String, String, Vec<Option<f64>>)>,
}

impl Classes {
    /// `None` where no model was measured by class.
    pub(crate) fn of(comparison: &Comparison<'_>, of: Of) -> Option<Self> {
        let class = |parameter: &str| parameter.strip_prefix("class=").map(str::to_owned);
        let space = comparison.distance.as_ref().map_or("", |key| key.space.as_str());
        let mut keys: Vec<_> = comparison
            .keys
            .iter()
            .filter(|key| key.metric == of.metric() && key.space == space)
            .filter_map(|key| Some((class(&key.parameter)?, key)))
            .collect();
        keys.sort_by_key(|(name, _)| (name.parse::<u64>().unwrap_or(u64::MAX), name.clone()));
        let mut trained = comparison.trained().flat_map(|model| &model.runs);
        let known = trained.find_map(|run| class_names(&run.folder)).unwrap_or_default();
        let name = |class: &String| {
            let index: Option<usize> = class.parse().ok();
            index.and_then(|index| known.get(index)).unwrap_or(class).clone()
        };
        let of_model = |model: &crate::models::Model<'_>| -> Vec<Option<f64>> {
            let finite = |value: &f64| value.is_finite();
            keys.iter().map(|(_, key)| model.seeds(key).map(|seeds| seeds.mean).filter(finite)).collect()
        };
        let models: Vec<_> = comparison
            .trained()
            .map(|model| (model.label.clone(), model.family().to_owned(), of_model(model)))
            .filter(|(_, _, values)| values.iter().any(Option::is_some))
            .collect();
        let names = keys.iter().map(|(class, _)| name(class)).collect();
        let numbers = keys.iter().map(|(class, _)| class.clone()).collect();
        let floors = keys.iter().map(|(_, key)| ranking::floor(&comparison.models, key)).collect();
        (!models.is_empty()).then_some(Classes { of, floors, numbers, names, models })
    }

    /// What has a place on an axis of factors.
    fn positive(&self) -> impl Iterator<Item = f64> {
        let values = self.models.iter().flat_map(|model| model.2.iter().flatten());
        let floors = self.floors.iter().flatten().filter(|_| self.of == Of::Share);
        values.chain(floors).copied().filter(|value| *value > 0.0)
    }

    pub(crate) fn figure(&self) -> Figure {
        let models: Vec<String> = self
            .models
            .iter()
            .map(|(name, _, values)| {
                let worst = values.iter().zip(&self.names).filter_map(|(value, class)| Some(((*value)?, class)));
                let worst = worst.max_by(|a, b| a.0.total_cmp(&b.0));
                let worst = worst.map(|(value, class)| format!(" ({} in {class})", Format::Significant.write(value)));
                format!("{name}{}", worst.unwrap_or_default())
            })
            .collect();
        let (name, what) = match self.of {
            Of::Distance => ("classes", "Distance within each class; the worst"),
            Of::Share => ("class-shares", "The part of the samples in each class; the largest"),
        };
        let alt = format!("{what} of each model: {}", models.join(", "));
        Figure::new(name, alt, [(900.0, 400.0), NARROW], |size| self.draw(size))
    }

    fn draw(&self, (width, height): Size) -> Svg {
        let mut svg = Svg::new();
        let (left, right, bottom) = (54.0, width - 10.0, height - 34.0);
        let title = match self.of {
            Of::Distance => "Fréchet distance within a class (lower is better)",
            Of::Share => "Part of the samples in a class (on the dashed line is best)",
        };
        svg.text("name", (4.0, 16.0), Anchor::Start, title);
        let legend = self.legend(&mut svg, (left, 38.0), right);
        let top = legend + 14.0;
        let (low, high) = self.positive().fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
        if !low.is_finite() {
            return svg;
        }
        let y = match self.of {
            Of::Distance => Scale::logarithmic(low / 1.3, high * 1.3, (bottom, top)),
            Of::Share => Scale::linear(0.0, high * 1.1, (bottom, top)),
        };
        for tick in y.ticks(6) {
            svg.line("grid", (left, y.at(tick)), (right, y.at(tick)));
            svg.text("tick", (left - 8.0, y.at(tick) + 4.0), Anchor::End, &tick_label(tick));
        }
        svg.line("axis", (left, bottom), (right, bottom));
        let step = (right - left) / self.names.len() as f64;
        let fits = self.names.iter().all(|name| name.chars().count() as f64 * 6.4 < step);
        for (index, name) in self.names.iter().enumerate() {
            let x = left + step * (index as f64 + 0.5);
            svg.line("grid", (x, top), (x, bottom));
            let text = if fits { name } else { &self.numbers[index] };
            svg.text("tick", (x, bottom + 18.0), Anchor::Middle, text);
            if let Some(floor) = self.floors[index].filter(|_| self.of == Of::Share) {
                svg.line("reference", (x - 0.45 * step, y.at(floor)), (x + 0.45 * step, y.at(floor)));
            }
        }
        // Models stand a little apart, so that equal values do not hide each other.
        let apart = (0.6 * step / self.models.len() as f64).min(20.0);
        for (position, (model, family, values)) in self.models.iter().enumerate() {
            let aside = apart * (position as f64 - (self.models.len() - 1) as f64 / 2.0);
            for (index, value) in values.iter().enumerate() {
                let has_place = |value: &f64| *value > 0.0 || self.of == Of::Share;
                let Some(value) = value.filter(has_place) else { continue };
                let x = left + step * (index as f64 + 0.5) + aside;
                let title = format!("{model}, {}: {}", self.names[index], Format::Significant.write(value));
                svg.mark(family, (x, y.at(value)), &title);
            }
        }
        svg
    }

    /// Marks with names, in as many lines as it takes; returns the height of the last.
    fn legend(&self, svg: &mut Svg, (left, top): (f64, f64), right: f64) -> f64 {
        let (mut x, mut y) = (left, top);
        for (name, family, _) in &self.models {
            let length = 34.0 + text_width(name);
            if x + length > right && x > left {
                (x, y) = (left, y + 22.0);
            }
            svg.mark(family, (x + 8.0, y - 4.0), name);
            svg.text("name", (x + 22.0, y), Anchor::Start, name);
            x += length;
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::read_all;
    use crate::testing::run_folder;

    #[test]
    fn classes_come_in_order_with_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let text = "family,model,feature_space\nvae,vae,pca-64\n";
        let run = run_folder(folder.path(), "vae-d-s0", Some(text));
        let rows = "metric,space,parameter,value,direction\nfd,pca-64,,1,lower\n\
                    class_fd,pca-64,class=10,4,lower\nclass_fd,pca-64,class=1,2,lower\n\
                    class_fd,pca-64,class=0,0,lower\nclass_fd,random-64,class=0,9,lower\n\
                    class_share,pca-64,class=0,0,\nclass_share,pca-64,class=1,0.7,\n";
        std::fs::write(run.join("metrics.csv"), rows).unwrap();
        let text = "family,model,feature_space\nreference,floor,pca-64\n";
        let floor = run_folder(folder.path(), "reference-floor", Some(text));
        let rows = "metric,space,parameter,value,direction\nclass_share,pca-64,class=1,0.5,\n";
        std::fs::write(floor.join("metrics.csv"), rows).unwrap();
        std::fs::write(run.join("config.toml"), "[data]\nclasses = [\"shoe\", \"bag\"]\n").unwrap();
        let runs = read_all(folder.path()).unwrap();
        let classes = Classes::of(&Comparison::of(&runs), Of::Distance).unwrap();
        assert_eq!(classes.names, ["shoe", "bag", "10"]);
        assert_eq!(classes.models[0].2, [Some(0.0), Some(2.0), Some(4.0)]);
        let figure = classes.figure();
        assert!(figure.alt.ends_with("vae (4.00 in 10)"), "{}", figure.alt);
        // Two with a place on the axis, one in the legend.
        assert_eq!(figure.wide.0.markup().matches("class=\"mark").count(), 3);
        assert!(figure.wide.0.markup().contains(">shoe<"));
        assert!(Classes::of(&Comparison::of(&[]), Of::Distance).is_none());

        let shares = Classes::of(&Comparison::of(&runs), Of::Share).unwrap().figure();
        // A class without any sample is on the axis, and the training data is a line.
        assert_eq!(shares.wide.0.markup().matches("class=\"mark").count(), 3);
        assert_eq!(shares.wide.0.markup().matches("class=\"reference").count(), 1);
        assert!(shares.alt.ends_with("vae (0.700 in bag)"), "{}", shares.alt);
    }
}
