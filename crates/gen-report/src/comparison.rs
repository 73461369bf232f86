//! The models of one data set, and the numbers that the report compares them by.

use crate::metric::{DATA, Key};
use crate::models::{Model, by_dataset, keys};
use crate::ranking::{Place, places};
use crate::runs::Run;

/// The models of a data set.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    pub(crate) models: Vec<Model<'a>>,
    /// How far samples are from the data, in the primary feature space.
    pub(crate) distance: Option<Key>,
    /// The same in the second space.
    pub(crate) second: Option<Key>,
    pub(crate) coverage: Option<Key>,
    pub(crate) recall: Option<Key>,
    /// One per kind of likelihood.
    pub(crate) likelihoods: Vec<Key>,
    /// Every number that any run has.
    pub(crate) keys: Vec<Key>,
}

impl<'a> Comparison<'a> {
    /// The models of the data set with the most runs.
    pub(crate) fn of(runs: &'a [Run]) -> Self {
        let size = |group: &Vec<Model<'_>>| group.iter().map(|model| model.runs.len()).sum::<usize>();
        // The first of equals.
        let models = by_dataset(runs).into_iter().rev().max_by_key(size).unwrap_or_default();
        let keys = keys(runs);
        let has = |key: &Key| models.iter().any(|model| !model.is_reference() && model.seeds(key).is_some());
        let keys: Vec<Key> = keys.into_iter().filter(has).collect();
        let trained = models.iter().filter(|model| !model.is_reference());
        let mut spaces = trained.flat_map(|model| &model.runs).map(|run| run.text("feature_space"));
        let primary = spaces.find(|space| !space.is_empty()).unwrap_or_default().to_owned();
        let find =
            |metric: &str, space: &str| keys.iter().find(|key| key.metric == metric && key.space == space).cloned();
        let distance =
            ["fd", "mmd", "wasserstein2", "energy_distance"].iter().find_map(|metric| find(metric, &primary));
        let elsewhere = |key: &&Key| {
            distance.as_ref().is_some_and(|first| {
                key.metric == first.metric && key.space != first.space && key.parameter == first.parameter
            })
        };
        let second = keys.iter().find(elsewhere).cloned();
        let measure = ["bits_per_dim", "nll_gap_nats", "nll_nats"]
            .into_iter()
            .find(|metric| keys.iter().any(|key| key.metric == *metric));
        let likelihoods =
            keys.iter().filter(|key| key.space == DATA && Some(key.metric.as_str()) == measure).cloned().collect();
        let (coverage, recall) = (find("coverage", &primary), find("recall", &primary));
        Comparison { distance, second, coverage, recall, likelihoods, keys, models }
    }

    /// The models that were trained, or came from elsewhere.
    pub(crate) fn trained(&self) -> impl Iterator<Item = &Model<'a>> {
        self.models.iter().filter(|model| !model.is_reference())
    }

    pub(crate) fn places(&self, key: Option<&Key>) -> Vec<Place> {
        key.map(|key| places(&self.models, key)).unwrap_or_default()
    }

    /// A cost, if any trained model has it. Of costs under different circumstances, the one that most models have.
    pub(crate) fn cost(&self, metric: &str) -> Option<Key> {
        self.costs(metric).into_iter().next()
    }

    /// A cost under each of its circumstances, those that most models have first.
    pub(crate) fn costs(&self, metric: &str) -> Vec<Key> {
        let models = |key: &Key| self.trained().filter(|model| model.seeds(key).is_some()).count();
        let mut found: Vec<Key> =
            self.keys.iter().filter(|key| key.is_cost() && key.metric == metric).cloned().collect();
        found.sort_by_key(|key| std::cmp::Reverse(models(key)));
        found
    }
}

/// The name of a feature space in sentences.
pub(crate) fn spoken_space(space: &str) -> &str {
    match space.split(':').next().unwrap_or(space) {
        "classifier" => "classifier",
        "self-supervised" => "self-supervised network",
        "random-64" => "random network",
        "pca-64" => "principal components",
        "inception" => "Inception",
        "identity" => "the points themselves",
        _ => space,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::read_all;
    use crate::testing::run_folder;

    #[test]
    fn the_numbers_of_the_questions_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let text = "family,model,dataset,feature_space,train_seconds\nvae,vae,d,classifier:d,9\n";
        let run = run_folder(folder.path(), "vae-d-s0", Some(text));
        let rows = "metric,space,parameter,value,direction,target\n\
                    fd,random-64,,1,lower,\nfd,classifier:d,,2,lower,\ncoverage,classifier:d,k=5,0.5,higher,\n\
                    bits_per_dim,data,lower-bound,3,lower,\nbits_per_dim,data,importance-64,2.9,lower,\n";
        std::fs::write(run.join("metrics.csv"), rows).unwrap();
        let other = "family,model,dataset,feature_space,fd\nvae,vae,other,pca-64,9\n";
        run_folder(folder.path(), "vae-other-s0", Some(other));
        let another = "family,model,dataset,feature_space,fd\nreference,floor,d,classifier:d,9\n";
        run_folder(folder.path(), "reference-floor", Some(another));
        let runs = read_all(folder.path()).unwrap();
        let comparison = Comparison::of(&runs);
        assert_eq!(comparison.trained().count(), 1);
        assert_eq!(comparison.distance, Some(Key::new("fd", "classifier:d", "")));
        assert_eq!(comparison.second, Some(Key::new("fd", "random-64", "")));
        assert_eq!(comparison.coverage, Some(Key::new("coverage", "classifier:d", "k=5")));
        let kinds: Vec<&str> = comparison.likelihoods.iter().map(|key| key.parameter.as_str()).collect();
        assert_eq!(kinds, ["lower-bound", "importance-64"]);
        assert_eq!((comparison.cost("train_seconds").is_some(), comparison.cost("nfe")), (true, None));
    }
}
