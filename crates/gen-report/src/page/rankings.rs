//! A ranking a question, with ties as ties.

use maud::{Markup, html};

use super::memorisation::copies;
use super::parts::{self, Report, named};
use crate::comparison::{Comparison, spoken_space};
use crate::figures::agreement::Agreement;
use crate::measures::{about, format};
use crate::metric::Key;
use crate::models::Seeds;
use crate::ranking::{self, Place};

/// A question, and the numbers that answer it.
struct Question {
    title: &'static str,
    /// What the models are ranked by; several numbers that cannot be compared have a name each.
    keys: Vec<(String, Key)>,
    head: String,
    /// What stands beside it, with its head.
    beside: Option<(Key, String)>,
    note: String,
}

/// All rankings.
pub(super) fn section(report: &Report<'_>) -> Markup {
    let comparison = report.comparison;
    let questions = questions(comparison);
    let cards: Vec<Markup> = questions.iter().filter_map(|question| card(comparison, question)).collect();
    if cards.is_empty() {
        return html! {};
    }
    let note = html! {
        "Models that share a place (1=) cannot be told apart: their difference is within the noise. A model has no \
         place (\u{2013}) where its number was measured once with an unknown error, or where no model has a finite \
         number. The floor is what real training data gets."
    };
    parts::section("Which is best?", &note, &html! { div.rankings { @for card in cards { (card) } } })
}

fn questions(comparison: &Comparison<'_>) -> Vec<Question> {
    let head = |key: &Key| about(&key.metric).0.to_owned();
    let mut questions = Vec::new();
    if let Some(key) = comparison.distance.clone() {
        let space = spoken_space(&key.space);
        let agreement = Agreement::of(comparison).map(|agreement| agreement.spoken());
        questions.push(Question {
            title: "Best samples",
            head: format!("{}, {space}", head(&key)),
            beside: comparison
                .second
                .clone()
                .map(|second| (second.clone(), format!("{}, {}", head(&second), spoken_space(&second.space)))),
            note: agreement.unwrap_or_else(|| format!("Distance from the test data in the space {}.", key.space)),
            keys: vec![(String::new(), key)],
        });
    }
    if let Some(key) = comparison.coverage.clone() {
        questions.push(Question {
            title: "Best coverage",
            head: head(&key),
            beside: comparison.recall.clone().map(|recall| (recall.clone(), head(&recall))),
            note: "The part of the test data that has a sample in its neighbourhood.".to_owned(),
            keys: vec![(String::new(), key)],
        });
    }
    if let Some(first) = comparison.likelihoods.first() {
        let kinds = comparison.likelihoods.iter();
        questions.push(Question {
            title: "Best likelihood",
            head: head(first),
            keys: kinds.map(|key| (spoken_kind(&key.parameter), key.clone())).collect(),
            beside: None,
            note: "Kinds cannot be compared with each other: a bound says only that the true number is no worse."
                .to_owned(),
        });
    }
    let costs = [
        (
            "Fastest to sample",
            "sample_images_per_second",
            "sample_latency_ms",
            "In batches; the latency is of one sample alone.",
        ),
        ("Cheapest to train", "train_seconds", "peak_rss_mib", "Seconds of training, and the memory that it took."),
    ];
    for (title, metric, beside, note) in costs {
        let found = comparison.costs(metric);
        let Some(first) = found.first() else { continue };
        let several = found.len() > 1;
        let apart = " What was timed under different circumstances is ranked apart.";
        questions.push(Question {
            title,
            head: head(first),
            beside: comparison.cost(beside).map(|beside| (beside.clone(), head(&beside))),
            note: format!("{note}{}", if several { apart } else { "" }),
            keys: found
                .into_iter()
                .map(|key| (if several { spoken_circumstances(&key.parameter) } else { String::new() }, key))
                .collect(),
        });
    }
    questions
}

/// Under which circumstances a cost was taken.
fn spoken_circumstances(parameter: &str) -> String {
    if parameter.is_empty() { "circumstances not known".to_owned() } else { parameter.replace('=', " ") }
}

/// How a likelihood was computed.
fn spoken_kind(kind: &str) -> String {
    if let Some(of_bytes) = kind.strip_prefix("dequantised-") {
        return format!("{}, of dequantised bytes", spoken_kind(of_bytes));
    }
    match kind {
        "dequantised" => "of dequantised bytes, by one draw".to_owned(),
        "ode" => "by the probability-flow equation".to_owned(),
        "lower-bound" => "lower bound".to_owned(),
        _ => match kind.strip_prefix("importance-") {
            Some(samples) => format!("bound by {samples} importance samples"),
            None => kind.to_owned(),
        },
    }
}

fn card(comparison: &Comparison<'_>, question: &Question) -> Option<Markup> {
    let beside = question.beside.as_ref().map(|(key, _)| key);
    let bodies: Vec<Markup> =
        question.keys.iter().filter_map(|(name, key)| body(comparison, name, key, beside)).collect();
    (!bodies.is_empty()).then(|| {
        html! {
            div.card {
                h3 { (question.title) }
                table {
                    thead {
                        tr {
                            th scope="col" { span.hidden { "place" } }
                            th scope="col" { "model" }
                            th scope="col" { (question.head) }
                            @if let Some((_, head)) = &question.beside { th scope="col" { (head) } }
                        }
                    }
                    @for body in bodies { (body) }
                }
                p.note { (question.note) }
            }
        }
    })
}

/// The places by one number, with another beside it.
fn body(comparison: &Comparison<'_>, name: &str, key: &Key, beside: Option<&Key>) -> Option<Markup> {
    let places = comparison.places(Some(key));
    if places.is_empty() {
        return None;
    }
    let places_beside = comparison.places(beside);
    // A single model is not the best of anything.
    let is_contest = places.iter().filter(|place| place.rank.is_some()).count() > 1;
    // Places by the number beside only matter where it is a second distance.
    let both_ranked = beside.is_some_and(|beside| beside.metric == key.metric);
    let rank_beside = |place: &Place| {
        let found = places_beside.iter().find(|other| other.model == place.model && other.rank.is_some());
        found.filter(|_| both_ranked).map(|other| written_place(other, &places_beside))
    };
    let row = |place: &Place| {
        let model = &comparison.models[place.model];
        html! {
            tr class=[(is_contest && place.leads()).then_some("best")] {
                td.place { @if is_contest || place.rank.is_none() { (written_place(place, &places)) } }
                th scope="row" {
                    (named(model.family(), &model.label))
                    @if both_ranked && copies(model) { span.kind.failed { "copies training data" } }
                }
                td { (value(key, &place.seeds)) }
                @if let Some(beside) = beside {
                    td {
                        // Numbers without a direction have no places, and are shown all the same.
                        @if let Some(seeds) = model.seeds(beside) { (value(beside, &seeds)) }
                        @if let Some(rank) = rank_beside(place) { span.kind { "place " (rank) } }
                    }
                }
            }
        }
    };
    let floor = |key: &Key| ranking::floor(&comparison.models, key).map(|floor| format(&key.metric).write(floor));
    Some(html! {
        tbody {
            @if !name.is_empty() { tr { td {} th.kind-name scope="rowgroup" colspan="2" { (name) } } }
            @for place in &places { (row(place)) }
            @if let Some(own) = floor(key) {
                tr.floor {
                    td {} th scope="row" { "floor" } td { (own) }
                    @if let Some(beside) = beside { td { @if let Some(floor) = floor(beside) { (floor) } } }
                }
            }
        }
    })
}

/// `1`, or `1=` where several share it; a dash where there is none.
fn written_place(place: &Place, places: &[Place]) -> String {
    let Some(own) = place.rank else { return "\u{2013}".to_owned() };
    let shared = places.iter().filter(|other| other.rank.is_some_and(|rank| rank.place == own.place)).count() > 1;
    format!("{}{}", own.place, if shared { "=" } else { "" })
}

/// The mean, and below it the range over seeds.
pub(super) fn value(key: &Key, seeds: &Seeds) -> Markup {
    let [mean, min, max] = [seeds.mean, seeds.min, seeds.max].map(|value| format(&key.metric).write(value));
    let error = seeds.error.map(|error| error.standard_error).filter(|error| *error > 0.0);
    html! {
        span title=[error.map(|error| format!("standard error {error:.2e}"))] { (mean) }
        @if min != max { span.kind { (min) " to " (max) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::read_all;
    use crate::testing::run_folder;

    #[test]
    fn a_card_shows_ties_the_second_space_and_the_floor() {
        let folder = tempfile::tempdir().unwrap();
        for (model, first, second) in [("a", 2.0, 9.0), ("b", 2.1, 8.0), ("c", 5.0, 7.0), ("floor", 0.1, 0.2)] {
            let reference = model == "floor";
            let family = if reference { "reference" } else { "vae" };
            let text = format!("family,model,feature_space\n{family},{model},pca-64\n");
            let name = if reference { "reference-floor".to_owned() } else { format!("{model}-d-s0") };
            let run = run_folder(folder.path(), &name, Some(&text));
            let rows = format!(
                "metric,space,value,standard_error,direction,target\n\
                 fd,pca-64,{first},0.05,lower,\nfd,random-64,{second},0.05,lower,\n"
            );
            std::fs::write(run.join("metrics.csv"), rows).unwrap();
        }
        let runs = read_all(folder.path()).unwrap();
        let comparison = Comparison::of(&runs);
        let questions = questions(&comparison);
        assert_eq!(questions.len(), 1);
        let html = card(&comparison, &questions[0]).unwrap().into_string();
        assert_eq!(html.matches("<td class=\"place\">1=</td>").count(), 2, "{html}");
        assert!(html.contains("<td class=\"place\">3</td>") && html.contains("FD, random network"), "{html}");
        assert!(html.contains("9.00</span><span class=\"kind\">place 3</span>"), "{html}");
        assert!(html.contains("<th scope=\"row\">floor</th><td>0.100</td><td>0.200</td>"), "{html}");
        assert!(html.contains("do not agree"), "{html}");
    }
}
