//! A ranking a question, with ties as ties.

use super::{Report, swatch};
use crate::comparison::{Comparison, spoken_space};
use crate::escape::escape;
use crate::figures::agreement::Agreement;
use crate::metrics::{Key, about, format};
use crate::models::Seeds;
use crate::ranking::{self, Place};

/// A question, and the numbers that answer it.
struct Question {
    title: String,
    /// What the models are ranked by.
    key: Key,
    head: String,
    /// What stands beside it, with its head.
    beside: Option<(Key, String)>,
    note: String,
}

/// All rankings.
pub(super) fn section(report: &Report<'_>) -> String {
    let comparison = report.comparison;
    let cards: String =
        questions(comparison).iter().filter_map(|question| card(comparison, question)).collect();
    if cards.is_empty() {
        return String::new();
    }
    format!(
        "<section><h2>Which is best?</h2><p class=\"note\">Models that share a place (1=) cannot be told apart: their \
         difference is within the noise. The floor is what real training data gets.</p>\
         <div class=\"rankings\">{cards}</div></section>"
    )
}

fn questions(comparison: &Comparison<'_>) -> Vec<Question> {
    let head = |key: &Key| about(&key.metric).0.to_owned();
    let mut questions = Vec::new();
    if let Some(key) = comparison.distance.clone() {
        let space = spoken_space(&key.space);
        let agreement = Agreement::of(comparison).map(|agreement| agreement.spoken());
        questions.push(Question {
            title: "Best samples".to_owned(),
            head: format!("{}, {space}", head(&key)),
            beside: comparison.second.clone().map(|second| {
                (second.clone(), format!("{}, {}", head(&second), spoken_space(&second.space)))
            }),
            note: agreement
                .unwrap_or_else(|| format!("Distance from the test data in the space {}.", key.space)),
            key,
        });
    }
    if let Some(key) = comparison.coverage.clone() {
        questions.push(Question {
            title: "Best coverage".to_owned(),
            head: head(&key),
            beside: comparison.recall.clone().map(|recall| (recall.clone(), head(&recall))),
            note: "The part of the test data that has a sample in its neighbourhood.".to_owned(),
            key,
        });
    }
    for key in comparison.likelihoods.clone() {
        let kind = if key.parameter.is_empty() { String::new() } else { format!(": {}", key.parameter) };
        let note = match key.parameter.as_str() {
            "exact" => "Computed exactly.",
            "lower-bound" => "A bound: the true likelihood is at least as good.",
            "ode" => "By the probability-flow equation.",
            _ => "A bound by importance sampling, tighter than the lower bound.",
        };
        questions.push(Question {
            title: format!("Best likelihood{kind}"),
            head: head(&key),
            beside: None,
            note: format!("{note} Kinds cannot be compared with each other."),
            key,
        });
    }
    let costs = [
        (
            "Fastest to sample",
            "sample_images_per_second",
            "sample_latency_ms",
            "In batches; the latency is of one sample alone.",
        ),
        (
            "Cheapest to train",
            "train_seconds",
            "peak_rss_mib",
            "Seconds of training, and the memory that it took.",
        ),
    ];
    for (title, metric, beside, note) in costs {
        if let Some(key) = comparison.cost(metric) {
            questions.push(Question {
                title: title.to_owned(),
                head: head(&key),
                beside: comparison.cost(beside).map(|beside| (beside.clone(), head(&beside))),
                note: note.to_owned(),
                key,
            });
        }
    }
    questions
}

fn card(comparison: &Comparison<'_>, question: &Question) -> Option<String> {
    let places = comparison.places(Some(&question.key));
    if places.is_empty() {
        return None;
    }
    let beside = question.beside.as_ref();
    let places_beside = comparison.places(beside.map(|(key, _)| key));
    let row = |place: &Place| {
        let model = &comparison.models[place.model];
        let second = beside.map(|(key, _)| {
            let found = places_beside.iter().find(|other| other.model == place.model);
            // Only of a second distance does the place matter.
            let rank = found.filter(|_| key.metric == question.key.metric).map(|other| {
                format!(" <span class=\"rank\">({})</span>", written_place(other, &places_beside))
            });
            let value = found.map(|other| value(key, &other.seeds));
            format!("<td>{}{}</td>", value.unwrap_or_default(), rank.unwrap_or_default())
        });
        let best = if place.place == 1 { " class=\"best\"" } else { "" };
        format!(
            "<tr{best}><td class=\"place\">{}</td><th scope=\"row\"><span class=\"model\">{}{}</span></th><td>{}</td>{}</tr>",
            written_place(place, &places),
            swatch(model.family()),
            escape(&model.label),
            value(&question.key, &place.seeds),
            second.unwrap_or_default()
        )
    };
    let rows: String = places.iter().map(row).collect();
    let floor = |key: &Key| {
        let floor = ranking::floor(&comparison.models, key);
        floor.map(|floor| format(&key.metric).write(floor)).unwrap_or_default()
    };
    let floor_row = Some(floor(&question.key)).filter(|floor| !floor.is_empty()).map(|own| {
        let second = beside.map(|(key, _)| format!("<td>{}</td>", floor(key))).unwrap_or_default();
        format!("<tr class=\"floor\"><td></td><th scope=\"row\">floor</th><td>{own}</td>{second}</tr>")
    });
    let second =
        beside.map(|(_, head)| format!("<th scope=\"col\">{}</th>", escape(head))).unwrap_or_default();
    Some(format!(
        "<div class=\"card\"><h3>{}</h3><table><thead><tr><th scope=\"col\"><span class=\"hidden\">place</span></th>\
         <th scope=\"col\">model</th><th scope=\"col\">{}</th>{second}</tr></thead><tbody>{rows}{}</tbody></table>\
         <p class=\"note\">{}</p></div>",
        escape(&question.title),
        escape(&question.head),
        floor_row.unwrap_or_default(),
        escape(&question.note)
    ))
}

/// `1`, or `1=` where several share it.
fn written_place(place: &Place, places: &[Place]) -> String {
    let shared = places.iter().filter(|other| other.place == place.place).count() > 1;
    format!("{}{}", place.place, if shared { "=" } else { "" })
}

/// The median, and below it the range over seeds.
pub(super) fn value(key: &Key, seeds: &Seeds) -> String {
    let write = |value: f64| format(&key.metric).write(value);
    let error = seeds
        .standard_error
        .map(|error| format!(" title=\"standard error {error:.2e}\""))
        .unwrap_or_default();
    let range = (seeds.n > 1)
        .then(|| format!("<span class=\"kind\">{} to {}</span>", write(seeds.min), write(seeds.max)));
    format!("<span{error}>{}</span>{}", write(seeds.median), range.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::read_all;
    use crate::runs::tests::run_folder;

    #[test]
    fn a_card_shows_ties_the_second_space_and_the_floor() {
        let folder = tempfile::tempdir().unwrap();
        for (model, first, second) in [("a", 2.0, 9.0), ("b", 2.1, 8.0), ("c", 5.0, 7.0), ("floor", 0.1, 0.2)]
        {
            let reference = model == "floor";
            let family = if reference { "reference" } else { "vae" };
            let text = format!("family,model,feature_space\n{family},{model},pca-64\n");
            let name = if reference { "reference-floor".to_owned() } else { format!("{model}-d-s0") };
            let run = run_folder(folder.path(), &name, Some(&text));
            let rows = format!(
                "metric,space,value,standard_error,higher_is_better\n\
                 fd,pca-64,{first},0.05,false\nfd,random-64,{second},0.05,false\n"
            );
            std::fs::write(run.join("metrics.csv"), rows).unwrap();
        }
        let runs = read_all(folder.path()).unwrap();
        let comparison = Comparison::of(&runs);
        let questions = questions(&comparison);
        assert_eq!(questions.len(), 1);
        let html = card(&comparison, &questions[0]).unwrap();
        assert_eq!(html.matches("<td class=\"place\">1=</td>").count(), 2, "{html}");
        assert!(html.contains("<td class=\"place\">3</td>") && html.contains("FD, random network"), "{html}");
        assert!(html.contains("9.00</span> <span class=\"rank\">(3)</span>"), "{html}");
        assert!(html.contains("<th scope=\"row\">floor</th><td>0.100</td><td>0.200</td>"), "{html}");
        assert!(html.contains("do not agree"), "{html}");
    }
}
