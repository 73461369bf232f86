//! The report as one HTML file that needs nothing else.

mod headline;
mod memorisation;
mod parts;
mod protocol;
mod rankings;
mod samples;
mod spaces;
mod table;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::parts::{distinct, section, swatch};
use crate::figures::{Figure, curves};
use crate::measures::{self, format};
use crate::style;
use crate::summary::on_kinds;

pub(crate) use self::parts::Report;

/// The whole page.
pub(crate) fn page(report: &Report<'_>) -> String {
    let data = distinct(report.runs.iter(), "dataset");
    let title = if data.is_empty() { "Generative models".to_owned() } else { format!("Generative models on {data}") };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (report.name) ": " (title) }
                style { (PreEscaped(style::VARIABLE)) (PreEscaped(include_str!("page.css"))) }
            }
            body {
                (headline::section(report, &title))
                (samples::section(report))
                (rankings::section(report))
                div.pairs { (trilemma(report)) (training_time(report)) }
                (agreement(report))
                (curves(report))
                (classes(report))
                (memorisation::section(report))
                (comparison(report))
                (spaces::section(report))
                (protocol::section(report))
                footer {
                    (report.name) ": the numbers are in the CSV files beside this page, described in "
                    code { "columns.csv" } "."
                }
                script { (PreEscaped(include_str!("sort.js"))) }
            }
        }
    };
    page.into_string()
}

/// What a figure has no place for, in a sentence.
fn left_out(figure: &Figure) -> String {
    match &figure.left_out[..] {
        [] => String::new(),
        left_out => format!(" Not drawn: {}.", left_out.join("; ")),
    }
}

fn trilemma(report: &Report<'_>) -> Markup {
    let Some(figure) = report.trilemma else { return html! {} };
    let note = html! {
        "Down is closer to the data, right is faster."
        @if report.comparison.coverage.is_some() {
            " The ring around a mark shows the share of the test data that is covered."
        }
        " The dotted line joins the models that no other beats in both." (left_out(figure))
    };
    section("Quality, coverage, speed", &note, &figure.inline())
}

fn training_time(report: &Report<'_>) -> Markup {
    let Some(figure) = report.training_time else { return html! {} };
    let note = html! {
        "Down is closer to the data, left is cheaper. A mark is the mean over seeds, a line through it their range."
        (left_out(figure))
    };
    section("Quality against training time", &note, &figure.inline())
}

fn agreement(report: &Report<'_>) -> Markup {
    let Some((agreement, figure)) = report.agreement else { return html! {} };
    let note = html! {
        (agreement.spoken()) " A line that crosses others is a model that ranks better in one space than in the other."
    };
    section("Do the feature spaces agree?", &note, &html! { div.slopes { (figure.inline()) } })
}

fn classes(report: &Report<'_>) -> Markup {
    let Some((classes, _)) = report.classes.iter().flatten().next() else { return html! {} };
    let names: Vec<String> =
        classes.numbers.iter().zip(&classes.names).map(|(number, name)| format!("{number} {name}")).collect();
    let named = if classes.numbers == classes.names { String::new() } else { names.join(", ") };
    let key = report.comparison.keys.iter().find(|key| key.metric == "class_tv");
    let histogram: Vec<String> = key
        .iter()
        .flat_map(|key| {
            report.comparison.trained().filter_map(|model| {
                Some(format!("{} {}", model.label, format(&key.metric).write(model.seeds(key)?.mean)))
            })
        })
        .collect();
    let note = html! {
        "A class in which a model is far worse than in its others has not been learned."
        span.narrow { " " (named) }
    };
    let content = html! {
        @for (_, figure) in report.classes.iter().flatten() { (figure.inline()) }
        @if !histogram.is_empty() {
            p.note {
                "Total variation distance between the class histograms of samples and test data: "
                (histogram.join(", ")) "."
            }
        }
    };
    section("Class by class", &note, &content)
}

fn comparison(report: &Report<'_>) -> Markup {
    let note = html! {
        "Arrows say which direction is better, or which number is best. The best of each column is marked where its \
         error is known. Rows below the line are references: "
        i { "floor" }
        " is the training data itself, which no honest model beats; every model should beat the others."
        @if let Some(note) = on_kinds(report.runs) { " " (note) }
    };
    let measured = |name: &str| report.runs.iter().any(|run| run.number(name).is_some());
    let content = html! {
        (table::table(report.runs))
        details {
            summary { "What the columns mean" }
            dl {
                @for measure in measures::shown().filter(|measure| measured(&measure.name)) {
                    dt { (measure.head) } dd { (measure.meaning) }
                }
            }
        }
    };
    section("All runs", &note, &content)
}

fn curves(report: &Report<'_>) -> Markup {
    let last_second = curves::last_second(report.panels);
    let mut models: Vec<(&str, &str)> =
        report.panels.iter().map(|panel| (panel.model.as_str(), panel.family.as_str())).collect();
    models.dedup();
    if models.is_empty() {
        return html! {};
    }
    let note = html! {
        "Each loss against seconds of training. Every panel has its own scale; a few extreme values may lie outside. \
         Losses of different families cannot be compared."
    };
    let content = html! {
        @for (model, family) in &models {
            h3 { (swatch(family)) (model) }
            div.panels {
                @for panel in report.panels.iter().filter(|panel| panel.model == *model) {
                    (panel.draw(last_second).inline("", curves::SIZE, &panel.alt()))
                }
            }
        }
    };
    section("Learning curves", &note, &content)
}
