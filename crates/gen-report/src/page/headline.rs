//! What the report is about, and what it found, in sentences.

use maud::{Markup, html};

use super::memorisation::copies;
use super::parts::Report;
use crate::comparison::{Comparison, spoken_space};
use crate::measures::{self, Format};
use crate::metric::Key;
use crate::ranking::{self, Place};

/// The title, the conclusion, and what failed.
pub(super) fn section(report: &Report<'_>, title: &str) -> Markup {
    let comparison = report.comparison;
    let names: Vec<&str> = comparison.trained().map(|model| model.label.as_str()).collect();
    let budget = report.record.map(|record| format!("each trained for {} on the same machine", spoken(&record.budget)));
    let seeds: Vec<usize> = comparison.trained().map(|model| model.runs.len()).collect();
    let (fewest, most) = (seeds.iter().min().copied(), seeds.iter().max().copied());
    let seeds = fewest.zip(most).filter(|(_, most)| *most > 1).map(|(fewest, most)| match fewest == most {
        true => format!("with {most} seeds"),
        false => format!("with {fewest} to {most} seeds"),
    });
    let failed: Vec<_> = report.runs.iter().filter(|run| !run.is_done()).collect();
    html! {
        header {
            h1 { (title) }
            @if let Some(conclusion) = conclusion(comparison) { p.lede { (conclusion) } }
            @if !names.is_empty() { p.note { (about(&listed(&names), budget, seeds)) } }
        }
        @if !failed.is_empty() || !report.notes.is_empty() {
            ul.failures {
                @for run in failed { li { b { (run.name()) } " failed: " (run.text("error")) } }
                @for note in report.notes { li { (note) } }
            }
        }
    }
}

/// How the models came about.
fn about(names: &str, budget: Option<String>, seeds: Option<String>) -> String {
    match [budget, seeds].into_iter().flatten().collect::<Vec<_>>().join(" ") {
        how if how.is_empty() => format!("{names}, measured under one protocol."),
        how => format!("{names}, {how} and measured under one protocol."),
    }
}

/// What was found, in a sentence; `None` where there is nothing to compare.
pub(crate) fn conclusion(comparison: &Comparison<'_>) -> Option<String> {
    // What each leader, or group of leaders, is best at.
    let mut parts: Vec<(Vec<usize>, Vec<String>)> = Vec::new();
    let mut best = |key: Option<&Key>, [one, many]: [&str; 2], detail: &dyn Fn(&str) -> String| {
        let places = comparison.places(key);
        let leaders: Vec<&Place> = places.iter().filter(|place| place.leads()).collect();
        let (Some(first), Some(key)) = (leaders.first(), key) else { return };
        // Of one model, or where none can be told from another, there is no best.
        if places.len() < 2 || leaders.len() == places.len() {
            return;
        }
        let value = measures::format(&key.metric).write(first.seeds.mean);
        let (verb, tie) = if leaders.len() == 1 { (one, "") } else { (many, "a tie; ") };
        let phrase = format!("{verb} ({tie}{})", detail(&value));
        let leaders: Vec<usize> = leaders.iter().map(|place| place.model).collect();
        match parts.iter_mut().find(|(earlier, _)| *earlier == leaders) {
            Some((_, phrases)) => phrases.push(phrase),
            None => parts.push((leaders, vec![phrase])),
        }
    };
    let floor = |key: Option<&Key>| {
        let floor = key.and_then(|key| ranking::floor(&comparison.models, key));
        floor.map(|floor| format!(", floor {}", Format::Significant.write(floor))).unwrap_or_default()
    };
    let distance = comparison.distance.as_ref();
    let name = distance.map_or("", |key| measures::about(&key.metric).0);
    best(distance, ["makes the best samples", "make the best samples"], &|value| {
        let second = second_opinion(comparison).unwrap_or_default();
        format!("{name} {value}{}{second}", floor(distance))
    });
    let coverage = comparison.coverage.as_ref();
    best(coverage, ["covers most of the data", "cover most of the data"], &|value| {
        format!("coverage {value}{}", floor(coverage))
    });
    // Speeds under different circumstances do not tell which model is the fastest.
    let speeds = comparison.costs("sample_images_per_second");
    let fastest = speeds.first().filter(|_| speeds.len() == 1);
    best(fastest, ["samples fastest", "sample fastest"], &|value| format!("{value} a second"));
    let sentences: Vec<String> = parts
        .iter()
        .map(|(leaders, phrases)| {
            let names: Vec<&str> = leaders.iter().map(|model| comparison.models[*model].label.as_str()).collect();
            format!("{} {}", listed(&names), listed(phrases))
        })
        .collect();
    let mut text = sentences.join("; ");
    if !text.is_empty() {
        text.push('.');
    }
    let copying: Vec<&str> =
        comparison.trained().filter(|model| copies(model)).map(|model| model.label.as_str()).collect();
    if !copying.is_empty() {
        let verb = if copying.len() == 1 { "copies" } else { "copy" };
        text += &format!(" {} {verb} training data, which every distance takes for quality.", listed(&copying));
    }
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Which models lead in the second feature space, if they are others.
fn second_opinion(comparison: &Comparison<'_>) -> Option<String> {
    let key = comparison.second.as_ref()?;
    let leaders = |key: Option<&Key>| -> Vec<usize> {
        let places = comparison.places(key);
        places.iter().filter(|place| place.leads()).map(|place| place.model).collect()
    };
    let (first, second) = (leaders(comparison.distance.as_ref()), leaders(Some(key)));
    let names: Vec<&str> = second.iter().map(|model| comparison.models[*model].label.as_str()).collect();
    let agrees = second.iter().all(|model| first.contains(model));
    (!agrees).then(|| format!("; by the {} it is {}", spoken_space(&key.space), listed(&names)))
}

/// `a, b and c`.
fn listed<Item: AsRef<str>>(items: &[Item]) -> String {
    match items {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [front @ .., last] => {
            let front: Vec<&str> = front.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", front.join(", "), last.as_ref())
        }
    }
}

/// `3m` as a person would say it.
fn spoken(budget: &str) -> String {
    let units = [
        ("images", "images"),
        ("epochs", "epochs"),
        ("steps", "steps"),
        ("min", "minutes"),
        ("m", "minutes"),
        ("s", "seconds"),
        ("h", "hours"),
    ];
    let spoken = units.iter().find_map(|(unit, word)| {
        let number = budget.strip_suffix(unit)?.trim();
        let count: f64 = number.parse().ok()?;
        let word = if count == 1.0 { word.trim_end_matches('s') } else { word };
        Some(format!("{number} {word}"))
    });
    spoken.unwrap_or_else(|| budget.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::read_all;
    use crate::testing::run_folder;

    #[test]
    fn budgets_are_spoken() {
        assert_eq!(spoken("3m"), "3 minutes");
        assert_eq!(spoken("1h"), "1 hour");
        assert_eq!(spoken("90s"), "90 seconds");
        assert_eq!(spoken("20000steps"), "20000 steps");
        assert_eq!(spoken("2Mimages"), "2Mimages");
    }

    #[test]
    fn models_came_about_by_what_is_known() {
        let (budget, seeds) = (|| Some("each trained".to_owned()), || Some("with 3 seeds".to_owned()));
        assert_eq!(about("a and b", None, None), "a and b, measured under one protocol.");
        assert_eq!(about("a", None, seeds()), "a, with 3 seeds and measured under one protocol.");
        assert_eq!(about("a", budget(), seeds()), "a, each trained with 3 seeds and measured under one protocol.");
    }

    fn conclusion_of(rows: &[(&str, &str)]) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        for (model, metrics) in rows {
            let text = format!("family,model,feature_space\nvae,{model},pca-64\n");
            let run = run_folder(folder.path(), &format!("{model}-d-s0"), Some(&text));
            let header = "metric,space,value,standard_error,direction,target\n";
            std::fs::write(run.join("metrics.csv"), format!("{header}{metrics}")).unwrap();
        }
        conclusion(&Comparison::of(&read_all(folder.path()).unwrap()))
    }

    #[test]
    fn a_conclusion_names_the_best_and_says_where_they_tie() {
        let coverage = "coverage,pca-64,0.5,0.01,higher,\n";
        let rows = [
            ("a", format!("fd,pca-64,2.0,0.1,lower,\n{coverage}")),
            ("b", format!("fd,pca-64,2.1,0.1,lower,\n{coverage}")),
            ("c", format!("fd,pca-64,9,0.1,lower,\n{coverage}copied_share,pca-64,0.2,,lower,\n")),
        ];
        let rows: Vec<(&str, &str)> = rows.iter().map(|(model, text)| (*model, text.as_str())).collect();
        assert_eq!(
            conclusion_of(&rows).unwrap(),
            "a and b make the best samples (a tie; FD 2.00). c copies training data, which every distance takes for \
             quality."
        );
        let rows = [
            ("a", "fd,pca-64,2.0,0.1,lower,\nfd,random-64,9,0.1,lower,\ncoverage,pca-64,0.9,0.01,higher,\n"),
            ("b", "fd,pca-64,3.0,0.1,lower,\nfd,random-64,8,0.1,lower,\ncoverage,pca-64,0.5,0.01,higher,\n"),
        ];
        assert_eq!(
            conclusion_of(&rows).unwrap(),
            "a makes the best samples (FD 2.00; by the random network it is b) and covers most of the data (coverage \
             0.900)."
        );
        assert_eq!(conclusion_of(&rows[..1]), None);
        assert_eq!(conclusion_of(&[]), None);
    }
}
