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
    title: &'static str,
    /// What the models are ranked by; several numbers that cannot be compared have a name each.
    keys: Vec<(String, Key)>,
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
         difference is within the noise. Without a place (\u{2013}) stands what was measured once, by a number whose error is \
         not known, or no number where no other model has one. The floor is what real training data gets.</p>\
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
            title: "Best samples",
            head: format!("{}, {space}", head(&key)),
            beside: comparison.second.clone().map(|second| {
                (second.clone(), format!("{}, {}", head(&second), spoken_space(&second.space)))
            }),
            note: agreement
                .unwrap_or_else(|| format!("Distance from the test data in the space {}.", key.space)),
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
        (
            "Cheapest to train",
            "train_seconds",
            "peak_rss_mib",
            "Seconds of training, and the memory that it took.",
        ),
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

fn card(comparison: &Comparison<'_>, question: &Question) -> Option<String> {
    let beside = question.beside.as_ref().map(|(key, _)| key);
    let bodies: String =
        question.keys.iter().filter_map(|(name, key)| body(comparison, name, key, beside)).collect();
    if bodies.is_empty() {
        return None;
    }
    let second = question.beside.as_ref();
    let second =
        second.map(|(_, head)| format!("<th scope=\"col\">{}</th>", escape(head))).unwrap_or_default();
    Some(format!(
        "<div class=\"card\"><h3>{}</h3><table><thead><tr><th scope=\"col\"><span class=\"hidden\">place</span></th>\
         <th scope=\"col\">model</th><th scope=\"col\">{}</th>{second}</tr></thead>{bodies}</table>\
         <p class=\"note\">{}</p></div>",
        question.title,
        escape(&question.head),
        escape(&question.note)
    ))
}

/// The places by one number, with another beside it.
fn body(comparison: &Comparison<'_>, name: &str, key: &Key, beside: Option<&Key>) -> Option<String> {
    let places = comparison.places(Some(key));
    if places.is_empty() {
        return None;
    }
    let places_beside = comparison.places(beside);
    // Of one there is no best.
    let is_contest = places.iter().filter(|place| place.rank.is_some()).count() > 1;
    // Only of a second distance does the place matter.
    let both_ranked = beside.is_some_and(|beside| beside.metric == key.metric);
    let row = |place: &Place| {
        let model = &comparison.models[place.model];
        let second = beside.map(|beside| {
            let found = places_beside.iter().find(|other| other.model == place.model);
            let ranked = found.filter(|other| both_ranked && other.rank.is_some());
            let rank = ranked.map(|other| written_place(other, &places_beside));
            let rank = rank.map(|rank| format!("<span class=\"kind\">place {rank}</span>"));
            // Numbers without a better side have no places, and are shown all the same.
            let value = model.seeds(beside).map(|seeds| value(beside, &seeds));
            format!("<td>{}{}</td>", value.unwrap_or_default(), rank.unwrap_or_default())
        });
        let copied = if both_ranked && super::memorisation::copies(model) {
            "<span class=\"kind failed\">copies training data</span>"
        } else {
            ""
        };
        format!(
            "<tr{}><td class=\"place\">{}</td><th scope=\"row\"><span class=\"model\">{}{}</span>{copied}</th><td>{}</td>{}</tr>",
            if is_contest && place.leads() { " class=\"best\"" } else { "" },
            if is_contest || place.rank.is_none() { written_place(place, &places) } else { String::new() },
            swatch(model.family()),
            escape(&model.label),
            value(key, &place.seeds),
            second.unwrap_or_default()
        )
    };
    let head = if name.is_empty() {
        String::new()
    } else {
        format!(
            "<tr><td></td><th scope=\"rowgroup\" colspan=\"2\" class=\"kind-name\">{}</th></tr>",
            escape(name)
        )
    };
    let rows: String = places.iter().map(row).collect();
    let floor = |key: &Key| {
        let floor = ranking::floor(&comparison.models, key);
        floor.map(|floor| format(&key.metric).write(floor)).unwrap_or_default()
    };
    let floor_row = Some(floor(key)).filter(|floor| !floor.is_empty()).map(|own| {
        let second = beside.map(|beside| format!("<td>{}</td>", floor(beside))).unwrap_or_default();
        format!("<tr class=\"floor\"><td></td><th scope=\"row\">floor</th><td>{own}</td>{second}</tr>")
    });
    Some(format!("<tbody>{head}{rows}{}</tbody>", floor_row.unwrap_or_default()))
}

/// `1`, or `1=` where several share it; a dash where there is none.
fn written_place(place: &Place, places: &[Place]) -> String {
    let Some(own) = place.rank else { return "\u{2013}".to_owned() };
    let shared =
        places.iter().filter(|other| other.rank.is_some_and(|rank| rank.place == own.place)).count() > 1;
    format!("{}{}", own.place, if shared { "=" } else { "" })
}

/// The mean, and below it the range over seeds.
pub(super) fn value(key: &Key, seeds: &Seeds) -> String {
    let write = |value: f64| format(&key.metric).write(value);
    let error = seeds.error.map(|error| error.standard_error).filter(|error| *error > 0.0);
    let error = error.map(|error| format!(" title=\"standard error {error:.2e}\"")).unwrap_or_default();
    let (min, max) = (write(seeds.min), write(seeds.max));
    let range = (min != max).then(|| format!("<span class=\"kind\">{min} to {max}</span>"));
    format!("<span{error}>{}</span>{}", write(seeds.mean), range.unwrap_or_default())
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
                "metric,space,value,standard_error,direction,target\n\
                 fd,pca-64,{first},0.05,lower,\nfd,random-64,{second},0.05,lower,\n"
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
        assert!(html.contains("9.00</span><span class=\"kind\">place 3</span>"), "{html}");
        assert!(html.contains("<th scope=\"row\">floor</th><td>0.100</td><td>0.200</td>"), "{html}");
        assert!(html.contains("do not agree"), "{html}");
    }
}
