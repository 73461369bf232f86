//! The report as one HTML file that needs nothing else.

mod headline;
mod memorisation;
mod protocol;
mod rankings;
mod samples;
mod spaces;
mod table;

use std::fmt::Write;

use crate::comparison::Comparison;
use crate::escape::escape;
use crate::figures::agreement::Agreement;
use crate::figures::classes::Classes;
use crate::figures::{Figure, curves};
use crate::measures::MEASURES;
use crate::metrics::format;
use crate::record::Record;
use crate::runs::Run;
use crate::style;
use crate::summary::on_kinds;
use crate::svg::Svg;

/// What a page is made of.
pub(crate) struct Report<'a> {
    pub(crate) name: &'a str,
    pub(crate) record: Option<&'a Record>,
    pub(crate) runs: &'a [Run],
    pub(crate) comparison: &'a Comparison<'a>,
    pub(crate) panels: &'a [curves::Panel],
    pub(crate) trilemma: Option<&'a Figure>,
    pub(crate) training_time: Option<&'a Figure>,
    pub(crate) agreement: Option<&'a (Agreement, Figure)>,
    /// The distance within each class, and the samples in it.
    pub(crate) classes: &'a [Option<(Classes, Figure)>; 2],
    /// What could not be shown, and why.
    pub(crate) notes: &'a [String],
}

/// The mark of a family, beside its name.
fn swatch(family: &str) -> String {
    let mut svg = Svg::new();
    svg.mark(family, (10.0, 10.0), family);
    format!(r#"<svg class="figure swatch" viewBox="0 0 20 20" aria-hidden="true">{}</svg>"#, svg.markup())
}

/// A table that scrolls sideways where it is too wide; also by keyboard.
fn scroll(label: &str, table: &str) -> String {
    format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{}\" tabindex=\"0\"><table>{table}</table></div>",
        escape(label)
    )
}

/// The whole page.
pub(crate) fn page(report: &Report<'_>) -> String {
    let data = distinct(report.runs.iter(), "dataset");
    let title =
        if data.is_empty() { "Generative models".to_owned() } else { format!("Generative models on {data}") };
    let sections = [
        headline::section(report, &title),
        samples::section(report),
        rankings::section(report),
        format!("<div class=\"pairs\">{}{}</div>", trilemma(report), training_time(report)),
        agreement(report),
        curves(report),
        classes(report),
        memorisation::section(report),
        comparison(report),
        spaces::section(report),
        protocol::section(report),
    ];
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}: {}</title>\n<style>\n{}{}</style>\n</head>\n<body>\n{}\n\
         <footer>{}: the numbers are in the CSV files beside this page, described in <code>columns.csv</code>.</footer>\n\
         <script>\n{}</script>\n</body>\n</html>\n",
        escape(report.name),
        escape(&title),
        style::VARIABLE,
        include_str!("page.css"),
        sections.join("\n"),
        escape(report.name),
        include_str!("sort.js")
    )
}

/// The values of a column among these runs, each once, in the order of the runs.
fn distinct<'a>(runs: impl Iterator<Item = &'a Run>, column: &str) -> String {
    let mut values: Vec<&str> = Vec::new();
    for run in runs {
        let value = run.text(column);
        if !value.is_empty() && !values.contains(&value) {
            values.push(value);
        }
    }
    values.join(", ")
}

/// What a figure has no place for, in a sentence.
fn left_out(figure: &Figure) -> String {
    match &figure.left_out[..] {
        [] => String::new(),
        left_out => format!(" Not drawn: {}.", escape(&left_out.join("; "))),
    }
}

fn trilemma(report: &Report<'_>) -> String {
    let Some(figure) = report.trilemma else { return String::new() };
    let ring = if report.comparison.coverage.is_some() {
        " The ring around a mark shows the part of the test data that is covered."
    } else {
        ""
    };
    format!(
        "<section><h2>Quality, coverage, speed</h2><p class=\"note\">Down is closer to the data, right is \
         faster.{ring} The dotted line joins the models that no other beats in both.{}</p>{}</section>",
        left_out(figure),
        figure.inline()
    )
}

fn training_time(report: &Report<'_>) -> String {
    let Some(figure) = report.training_time else { return String::new() };
    format!(
        "<section><h2>Quality against training time</h2><p class=\"note\">Down is closer to the data, left is \
         cheaper. A mark is the mean over seeds, a line through it their range.{}</p>{}</section>",
        left_out(figure),
        figure.inline()
    )
}

fn agreement(report: &Report<'_>) -> String {
    let Some((agreement, figure)) = report.agreement else { return String::new() };
    format!(
        "<section><h2>Do the feature spaces agree?</h2><p class=\"note\">{} A line that crosses others is a model \
         that one space likes better than the other.</p><div class=\"slopes\">{}</div></section>",
        escape(&agreement.spoken()),
        figure.inline()
    )
}

fn classes(report: &Report<'_>) -> String {
    let Some((classes, _)) = report.classes.iter().flatten().next() else { return String::new() };
    let figures: String = report.classes.iter().flatten().map(|(_, figure)| figure.inline()).collect();
    let names: Vec<String> =
        classes.numbers.iter().zip(&classes.names).map(|(number, name)| format!("{number} {name}")).collect();
    let named = if classes.numbers == classes.names { String::new() } else { names.join(", ") };
    let histogram: Vec<String> = report
        .comparison
        .trained()
        .filter_map(|model| {
            let key = report.comparison.keys.iter().find(|key| key.metric == "class_tv")?;
            Some(format!("{} {}", model.label, format(&key.metric).write(model.seeds(key)?.mean)))
        })
        .collect();
    let histogram = if histogram.is_empty() {
        String::new()
    } else {
        let text = histogram.join(", ");
        format!(
            "<p class=\"note\">Distance of the histograms of classes (total variation): {}.</p>",
            escape(&text)
        )
    };
    format!(
        "<section><h2>Class by class</h2><p class=\"note\">Where a model is far above its own other classes, it has \
         not learned that one.<span class=\"narrow\"> {}</span></p>{}{histogram}</section>",
        escape(&named),
        figures
    )
}

fn comparison(report: &Report<'_>) -> String {
    let meanings: String = MEASURES
        .iter()
        .filter(|measure| report.runs.iter().any(|run| run.number(measure.column).is_some()))
        .map(|measure| format!("<dt>{}</dt><dd>{}</dd>", escape(measure.head), escape(measure.meaning)))
        .collect();
    format!(
        "<section><h2>All runs</h2><p class=\"note\">Arrows say which way is better, or what number is best; the best of \
         each column is marked where its error is known. Rows below the line are no trained models: <i>floor</i> is the training data itself, which no honest \
         model beats, the others are the least that a model has to beat.{}</p>{}\
         <details><summary>What the columns mean</summary><dl>{meanings}</dl></details></section>",
        on_kinds(report.runs).map(|note| format!(" {}", escape(&note))).unwrap_or_default(),
        table::table(report.runs)
    )
}

fn curves(report: &Report<'_>) -> String {
    let mut html = String::new();
    let last_second = curves::last_second(report.panels);
    let mut models: Vec<(&str, &str)> =
        report.panels.iter().map(|panel| (panel.model.as_str(), panel.family.as_str())).collect();
    models.dedup();
    for (model, family) in &models {
        let of_model = report.panels.iter().filter(|panel| panel.model == *model);
        let panels: String =
            of_model.map(|panel| panel.draw(last_second).inline("", curves::SIZE, &panel.alt())).collect();
        let _ =
            write!(html, "<h3>{}{}</h3><div class=\"panels\">{panels}</div>", swatch(family), escape(model));
    }
    if html.is_empty() {
        return html;
    }
    format!(
        "<section><h2>Learning curves</h2><p class=\"note\">Each loss over seconds of training; every panel has its own \
         scale, which a few extreme values may leave. Losses of different families cannot be \
         compared.</p>{html}</section>"
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::build;
    use crate::runs::tests::run_folder;

    #[test]
    fn the_page_needs_no_other_file_and_names_what_failed() {
        let folder = tempfile::tempdir().unwrap();
        let row = "family,model,dataset,feature_space,fd,sample_images_per_second,train_seconds,coverage\n\
                   vae,vae,digits,pca-64,3.5,100,9,0.5\n";
        let vae = run_folder(folder.path(), "vae-digits-s0", Some(row));
        fs::create_dir(vae.join("samples")).unwrap();
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend([0, 0, 0, 80, 0, 0, 0, 64]);
        fs::write(vae.join("samples/evaluation.png"), &png).unwrap();
        fs::write(vae.join("history.csv"), "seconds,loss_elbo\n1,2\n2,1\n").unwrap();
        run_folder(folder.path(), "ddpm-digits-s0", None);
        build(folder.path()).unwrap();
        let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
        assert!(page.contains("src=\"data:image/png;base64,") && page.contains("width=\"80\" height=\"64\""));
        assert!(page.contains("<b>ddpm-digits-s0</b> failed: unfinished"));
        let order = [
            "<h1>",
            "Samples",
            "Which is best?",
            "Quality, coverage, speed",
            "Quality against training time",
            "Learning curves",
            "All runs",
            "All measurements",
            "Protocol",
        ];
        let positions: Vec<usize> = order.iter().map(|heading| page.find(heading).unwrap()).collect();
        assert!(positions.is_sorted(), "{positions:?}");
        assert!(page.contains("elbo of vae over seconds"));
        for outside in ["http:", "https:", "src=\"/", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
