//! What a reader should know before comparing the runs of an experiment.

use crate::models::{Model, by_dataset};
use crate::runs::Run;

/// What makes numbers of these runs hard to compare.
pub(crate) fn not_alike(runs: &[Run]) -> Vec<String> {
    let different = |runs: &mut dyn Iterator<Item = &Run>, column: &str, what: &str| {
        let mut values: Vec<String> = runs.map(|run| run.text(column).to_owned()).collect();
        values.retain(|value| !value.is_empty());
        values.sort_unstable();
        values.dedup();
        (values.len() > 1).then(|| format!("{what}: {}", values.join(", ")))
    };
    let mut notes = Vec::new();
    for (column, what) in [
        ("n_real", "distances from different numbers of test rows cannot be compared"),
        ("n_fake", "distances of different numbers of samples cannot be compared"),
        ("feature_space", "distances in different feature spaces cannot be compared"),
        ("feature_sha256", "distances by different feature networks cannot be compared"),
    ] {
        notes.extend(different(&mut runs.iter(), column, what));
    }
    if by_dataset(runs).len() > 1 {
        let column = if different(&mut runs.iter(), "dataset", "").is_some() { "dataset" } else { "dataset_sha256" };
        let what = "the runs are of different data, whose numbers cannot be compared";
        notes.extend(different(&mut runs.iter(), column, what));
    }
    for (column, what) in [
        ("budget", "the models were trained with different budgets"),
        ("device", "the models were trained on different devices"),
        ("train_precision", "the models were trained in different precisions"),
        ("weights", "the models were sampled with different kinds of weights"),
        ("sample_device", "sampling was timed on different devices, and is ranked on each alone"),
        ("sample_processor", "sampling was timed on different processors, and is ranked on each alone"),
        ("sample_threads", "sampling was timed with different numbers of threads, and is ranked with each alone"),
        ("sample_batch", "sampling was timed with different batches, and is ranked with each alone"),
    ] {
        notes.extend(different(&mut runs.iter().filter(|run| !run.is_reference()), column, what));
    }
    let models = Model::all(runs);
    let firsts: Vec<&Run> = models.iter().map(|model| model.runs[0]).collect();
    for (index, one) in firsts.iter().enumerate() {
        let named_alike = |other: &&&Run| one.stem() == other.stem() && one.folder.parent() == other.folder.parent();
        for other in firsts[index + 1..].iter().filter(named_alike) {
            let told = one.differences(other).into_iter();
            let told: Vec<String> = told.map(|(name, own, other)| format!("{name} ({own}, {other})")).collect();
            if !told.is_empty() {
                notes.push(format!(
                    "{} and {} are named as seeds of one model and differ in {}: they count as two models",
                    one.name(),
                    other.name(),
                    told.join(", ")
                ));
            }
        }
    }
    for model in models.iter().filter(|model| model.runs.len() > model.n_failed()) {
        if model.n_failed() > 0 {
            notes.push(format!(
                "{}: {} of {} seeds failed; its numbers are of the others, which may look better than all would",
                model.label,
                model.n_failed(),
                model.runs.len()
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::runs::read_folders;
    use crate::testing::run_folder;

    /// The notes on runs with these names and rows.
    fn notes(header: &str, rows: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let run = |(name, row): &(&str, &str)| {
            let text = format!("{header}\n{row}\n");
            run_folder(folder.path(), name, (!row.is_empty()).then_some(text.as_str()))
        };
        let folders: Vec<PathBuf> = rows.iter().map(run).collect();
        not_alike(&read_folders(&folders))
    }

    #[test]
    fn each_difference_between_runs_is_noted_once() {
        let of_all = [
            ("n_real", ["100", "200"], "different numbers of test rows"),
            ("n_fake", ["100", "200"], "different numbers of samples"),
            ("feature_space", ["pca-2", "random-64"], "different feature spaces"),
            ("feature_sha256", ["aa", "bb"], "different feature networks"),
            ("dataset_sha256", ["aa", "bb"], "different data"),
        ];
        let of_trained = [
            ("budget", ["60s", "90s"], "different budgets"),
            ("device", ["cpu", "cuda"], "different devices"),
            ("train_precision", ["bf16", "f32"], "different precisions"),
            ("weights", ["ema", "ema-best"], "different kinds of weights"),
            ("sample_device", ["cpu", "cuda"], "timed on different devices"),
            ("sample_processor", ["one", "two"], "timed on different processors"),
            ("sample_threads", ["1", "2"], "different numbers of threads"),
            ("sample_batch", ["100", "500"], "different batches"),
        ];
        for (index, (column, [one, two], what)) in of_all.into_iter().chain(of_trained).enumerate() {
            let header = format!("family,model,dataset,{column}");
            let told = |family: &str, [one, two]: [&str; 2]| {
                let rows = [("vae", one), ("ddpm", two), ("dcgan", "")]
                    .map(|(model, cell)| (format!("{model}-d-s0"), format!("{family},{model},d,{cell}")));
                notes(&header, &rows.each_ref().map(|(name, row)| (name.as_str(), row.as_str())))
            };
            let found = told("vae", [one, two]);
            let is_it = |note: &String| note.contains(what) && note.ends_with(&format!(": {one}, {two}"));
            assert!(found.len() == 1 && is_it(&found[0]), "{column}: {found:?}");
            assert_eq!(told("vae", [one, one]), Vec::<String>::new(), "{column}");
            // References are not trained, and their sampling is not timed.
            assert_eq!(told("reference", [one, two]).len(), usize::from(index < of_all.len()), "{column}");
        }
        let found = notes("family,model,dataset", &[("vae-d-s0", "vae,vae,d"), ("vae-x-s0", "vae,vae,x")]);
        assert_eq!(found, ["the runs are of different data, whose numbers cannot be compared: d, x"]);
    }

    #[test]
    fn runs_named_as_seeds_that_are_none_are_noted() {
        let header = "family,model,dataset,seed,config_sha256,budget";
        let found = notes(header, &[("vae-d-s0", "vae,vae,d,0,aa,60s"), ("vae-d-s1", "vae,vae,d,1,aa,90s")]);
        let said = "vae-d-s0 and vae-d-s1 are named as seeds of one model and differ in budget (60s, 90s): they count \
                    as two models";
        assert_eq!(found, ["the models were trained with different budgets: 60s, 90s", said]);
        let seeds = [("vae-d-s0", "vae,vae,d,0,aa,60s"), ("vae-d-s1", "vae,vae,d,1,aa,60s")];
        assert_eq!(notes(header, &seeds), Vec::<String>::new());
    }

    #[test]
    fn failed_seeds_are_noted_beside_the_others() {
        let header = "family,model,dataset,fd";
        let found = notes(header, &[("vae-d-s0", "vae,vae,d,3"), ("vae-d-s1", ""), ("vae-d-s2", "")]);
        assert!(found.len() == 1 && found[0].starts_with("vae: 2 of 3 seeds failed"), "{found:?}");
        assert_eq!(notes(header, &[("vae-d-s0", ""), ("vae-d-s1", "")]), Vec::<String>::new());
    }
}
