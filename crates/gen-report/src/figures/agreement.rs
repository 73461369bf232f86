//! Whether two feature spaces put the models in the same order.

use super::{Figure, Size};
use crate::comparison::{Comparison, spoken_space};
use crate::measures::Format;
use crate::ranking::spearman;
use crate::svg::{Anchor, Svg, family_class};

/// A model in both spaces.
#[derive(Debug)]
struct Ranked {
    name: String,
    family: String,
    /// In each space, rank and distance.
    places: [(usize, f64); 2],
}

/// The ranks of the models in both spaces.
#[derive(Debug)]
pub(crate) struct Agreement {
    spaces: [String; 2],
    models: Vec<Ranked>,
    /// Spearman's rank correlation.
    pub(crate) correlation: Option<f64>,
}

impl Agreement {
    /// `None` where fewer than two models have both numbers.
    pub(crate) fn of(comparison: &Comparison<'_>) -> Option<Self> {
        let (first, second) = (comparison.distance.as_ref()?, comparison.second.as_ref()?);
        let has_both: Vec<(usize, [f64; 2])> = comparison
            .models
            .iter()
            .enumerate()
            .filter(|(_, model)| !model.is_reference())
            .filter_map(|(index, model)| Some((index, [model.seeds(first)?.mean, model.seeds(second)?.mean])))
            .collect();
        // What is NaN is as far as what is infinite.
        let far = |value: f64| if value.is_finite() { value } else { f64::INFINITY };
        let rank = |space: usize, value: f64| 1 + has_both.iter().filter(|(_, v)| far(v[space]) < far(value)).count();
        let models: Vec<_> = has_both
            .iter()
            .map(|(index, values)| {
                let model = &comparison.models[*index];
                let places = [0, 1].map(|space| (rank(space, values[space]), values[space]));
                Ranked { name: model.label.clone(), family: model.family().to_owned(), places }
            })
            .collect();
        let pairs: Vec<(f64, f64)> = has_both.iter().map(|(_, values)| (far(values[0]), far(values[1]))).collect();
        (models.len() > 1).then(|| Agreement {
            spaces: [first, second].map(|key| spoken_space(&key.space).to_owned()),
            models,
            correlation: spearman(&pairs),
        })
    }

    /// In a sentence.
    pub(crate) fn spoken(&self) -> String {
        let [first, second] = &self.spaces;
        let said = match self.correlation {
            Some(r) if r > 0.999 => "put the models in the same order".to_owned(),
            Some(r) if r > 0.7 => "mostly agree on the order of the models".to_owned(),
            Some(r) if r > 0.3 => "agree in part on the order of the models".to_owned(),
            Some(_) => "do not agree on the order of the models: neither alone is to be trusted".to_owned(),
            None => return format!("Too few models to say whether {first} and {second} agree."),
        };
        let correlation = self.correlation.map(|r| format!(" (Spearman's rank correlation {r:.2})"));
        format!("The spaces {first} and {second} {said}{}.", correlation.unwrap_or_default())
    }

    pub(crate) fn figure(&self) -> Figure {
        let height = 52.0 + 34.0 * self.models.len() as f64;
        let names = |space: usize| {
            let mut ranked: Vec<_> =
                self.models.iter().map(|model| (model.places[space].0, model.name.as_str())).collect();
            ranked.sort_unstable();
            ranked.iter().map(|(rank, name)| format!("{rank} {name}")).collect::<Vec<_>>().join(", ")
        };
        let [first, second] = &self.spaces;
        let alt = format!("Ranks by distance. {first}: {}. {second}: {}", names(0), names(1));
        Figure::new("rank-agreement", alt, [(560.0, height), (360.0, height)], |size| self.draw(size))
    }

    fn draw(&self, (width, _): Size) -> Svg {
        let side = 0.36 * width;
        let columns = [side, width - side];
        let mut svg = Svg::new();
        for (space, (x, anchor)) in columns.into_iter().zip([Anchor::End, Anchor::Start]).enumerate() {
            svg.text("name", (x, 16.0), anchor, &self.spaces[space]);
        }
        // Equal ranks stand below each other.
        let row = |index: usize, space: usize| {
            let own = (self.models[index].places[space].0, index);
            let above = self.models.iter().enumerate().filter(|(other, m)| (m.places[space].0, *other) < own).count();
            46.0 + 34.0 * above as f64
        };
        for (index, Ranked { name, family, places }) in self.models.iter().enumerate() {
            let ends = [0, 1].map(|space| (columns[space], row(index, space)));
            svg.polyline(&format!("curve {}", family_class(family)), &ends);
            for (space, anchor) in [Anchor::End, Anchor::Start].into_iter().enumerate() {
                let (x, y) = ends[space];
                let value = Format::Significant.write(places[space].1);
                let x = if space == 0 { x - 16.0 } else { x + 16.0 };
                svg.text("name", (x, y), anchor, name);
                svg.text("tick", (x, y + 13.0), anchor, &value);
                svg.mark(family, ends[space], &format!("{name}: rank {} ({value})", places[space].0));
            }
        }
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::read_all;
    use crate::testing::run_folder;

    fn agreement(values: &[(&str, f64, f64)]) -> Option<Agreement> {
        let folder = tempfile::tempdir().unwrap();
        for (model, first, second) in values {
            let text = format!("family,model,feature_space\nvae,{model},pca-64\n");
            let run = run_folder(folder.path(), &format!("{model}-d-s0"), Some(&text));
            let rows = format!("metric,space,value,direction\nfd,pca-64,{first},lower\nfd,random-64,{second},lower\n");
            std::fs::write(run.join("metrics.csv"), rows).unwrap();
        }
        let runs = read_all(folder.path()).unwrap();
        Agreement::of(&Comparison::of(&runs))
    }

    #[test]
    fn agreement_is_said_in_words() {
        let same = agreement(&[("a", 1.0, 2.0), ("b", 2.0, 3.0), ("c", 3.0, 4.0)]).unwrap();
        assert!(same.spoken().contains("same order (Spearman's rank correlation 1.00)"), "{}", same.spoken());
        let other = agreement(&[("a", 1.0, 4.0), ("b", 2.0, 3.0), ("c", 3.0, 2.0)]).unwrap();
        assert!(other.spoken().contains("do not agree"), "{}", other.spoken());
        let figure = other.figure();
        assert_eq!(figure.alt, "Ranks by distance. principal components: 1 a, 2 b, 3 c. random network: 1 c, 2 b, 3 a");
        assert_eq!(figure.wide.0.markup().matches("class=\"mark").count(), 6);
        assert!(agreement(&[("a", 1.0, 4.0), ("b", 2.0, 3.0)]).unwrap().spoken().contains("Too few"));
        assert!(agreement(&[("a", 1.0, 4.0)]).is_none());
        let endless =
            agreement(&[("a", 1.0, 2.0), ("b", f64::NAN, 3.0), ("c", 3.0, f64::INFINITY), ("d", 4.0, 9.0)]).unwrap();
        assert!(
            endless
                .figure()
                .alt
                .contains("principal components: 1 a, 2 c, 3 d, 4 b. random network: 1 a, 2 b, 3 d, 4 c"),
            "{}",
            endless.figure().alt
        );
    }
}
