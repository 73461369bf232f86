//! The report as one HTML file that needs nothing else.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::columns::{Format, MEASURES};
use super::runs::Run;
use super::summary::label;
use super::svg::{self, Svg, family_class};
use super::{curves, table};
use crate::record::Record;

/// What a page is made of.
pub(super) struct Report<'a> {
    pub(super) name: &'a str,
    pub(super) record: Option<&'a Record>,
    pub(super) runs: &'a [Run],
    pub(super) panels: &'a [curves::Panel],
    pub(super) scatter: Option<&'a super::scatter::Scatter>,
    /// What could not be shown, and why.
    pub(super) notes: &'a [String],
}

/// Text as it may stand in HTML, also within quotes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Not allowed in XML, and invisible in HTML.
            c if c.is_control() && !c.is_whitespace() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The mark of a family, beside its name.
pub(super) fn swatch(family: &str) -> String {
    let mut svg = Svg::new();
    svg.mark(family, (10.0, 10.0), family);
    format!(r#"<svg class="figure swatch" viewBox="0 0 20 20" aria-hidden="true">{}</svg>"#, svg.markup())
}

/// The whole page.
pub(super) fn page(report: &Report<'_>) -> String {
    let title = title(report.runs);
    let sections = [
        headline(report, &title),
        comparison(report),
        samples(report),
        speed(report),
        training(report),
        protocol(report),
    ];
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}: {}</title>\n<style>\n{}{}</style>\n</head>\n<body>\n{}\n\
         <footer>Experiment {}, made by <code>cargo xtask report</code>.</footer>\n\
         <script>\n{}</script>\n</body>\n</html>\n",
        escape(report.name),
        escape(&title),
        svg::STYLE,
        include_str!("page.css"),
        sections.join("\n"),
        escape(report.name),
        include_str!("sort.js")
    )
}

fn title(runs: &[Run]) -> String {
    let data = distinct(runs, "dataset");
    if data.is_empty() { "Generative models".to_owned() } else { format!("Generative models on {data}") }
}

/// The values of a column among these runs, each once, in the order of the runs.
fn distinct(runs: &[Run], column: &str) -> String {
    let mut values: Vec<&str> = Vec::new();
    for run in runs {
        let value = run.text(column);
        if !value.is_empty() && !values.contains(&value) {
            values.push(value);
        }
    }
    values.join(", ")
}

fn trained(runs: &[Run]) -> Vec<Run> {
    runs.iter().filter(|run| !run.is_reference()).cloned().collect()
}

fn headline(report: &Report<'_>, title: &str) -> String {
    let models = trained(report.runs);
    let names = distinct(&models, "model");
    let names = names.rsplit_once(", ").map_or(names.clone(), |(front, last)| format!("{front} and {last}"));
    let budget = report
        .record
        .map(|record| format!(", each trained for {} on the same machine", escape(&spoken(&record.budget))))
        .unwrap_or_default();
    let mut html = format!(
        "<header><h1>{}</h1><p class=\"lede\">{}{budget} and measured under one protocol.</p></header>",
        escape(title),
        escape(&names)
    );
    let tiles: String = [
        tile(&models, "fd", "closest to the data", |run| {
            let floor =
                run.number("fd_floor").map(|floor| format!(" (floor {})", Format::Significant.write(floor)));
            format!("FD {}{}", number(run, "fd"), floor.unwrap_or_default())
        }),
        tile(&models, "sample_latency_ms", "quickest sample", |run| {
            format!(
                "{} ms for one, {}/s in batches",
                number(run, "sample_latency_ms"),
                number(run, "sample_images_per_second")
            )
        }),
        tile(&models, likelihood(&models), "best likelihood", |run| {
            let unit = if likelihood(&models) == "nll_nats" { "nats" } else { "bits/dim" };
            format!("{} {unit} ({})", number(run, likelihood(&models)), run.text("likelihood_kind"))
        }),
        tile(&models, "parameters", "smallest", |run| {
            format!("{} parameters", Format::Count.write(run.number("parameters").unwrap_or_default()))
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !tiles.is_empty() {
        html += &format!("<div class=\"tiles\">{tiles}</div>");
    }
    let failures: String = report
        .runs
        .iter()
        .filter(|run| !run.is_done())
        .map(|run| format!("<li><b>{}</b> failed: {}</li>", escape(run.name()), escape(run.text("error"))))
        .chain(report.notes.iter().map(|note| format!("<li>{}</li>", escape(note))))
        .collect();
    if !failures.is_empty() {
        html += &format!("<ul class=\"failures\">{failures}</ul>");
    }
    html
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

fn likelihood(models: &[Run]) -> &'static str {
    if models.iter().any(|run| run.number("bits_per_dim").is_some()) { "bits_per_dim" } else { "nll_nats" }
}

fn number(run: &Run, column: &str) -> String {
    run.number(column).map(|value| Format::Significant.write(value)).unwrap_or_default()
}

/// The model with the lowest value in a column, where there are two to choose from.
fn tile(models: &[Run], column: &str, what: &str, detail: impl Fn(&Run) -> String) -> Option<String> {
    let with_value: Vec<&Run> = models.iter().filter(|run| run.number(column).is_some()).collect();
    let best = with_value.iter().min_by(|a, b| {
        let value = |run: &Run| run.number(column).unwrap_or(f64::INFINITY);
        value(a).total_cmp(&value(b))
    })?;
    (with_value.len() > 1).then(|| {
        format!(
            "<div class=\"tile {}\"><span>{what}</span><strong>{}</strong><span>{}</span></div>",
            family_class(best.family()),
            escape(&label(best, models)),
            escape(&detail(best))
        )
    })
}

fn comparison(report: &Report<'_>) -> String {
    let meanings: String = MEASURES
        .iter()
        .filter(|measure| report.runs.iter().any(|run| run.number(measure.column).is_some()))
        .map(|measure| format!("<dt>{}</dt><dd>{}</dd>", escape(measure.head), escape(measure.meaning)))
        .collect();
    format!(
        "<section><h2>Comparison</h2><p class=\"note\">Arrows say which way is better; the best of each column is \
         marked. Rows below the line are no trained models: <i>floor</i> is the training data itself, which no honest \
         model beats, the others are the least that a model has to beat.</p>{}\
         <details><summary>What the columns mean</summary><dl>{meanings}</dl></details></section>",
        table::table(report.runs)
    )
}

fn samples(report: &Report<'_>) -> String {
    let cards: String = report.runs.iter().filter_map(|run| sample_card(run, report.runs)).collect();
    if cards.is_empty() {
        return String::new();
    }
    format!(
        "<section><h2>Samples</h2><p class=\"note\">Drawn from the models as they were evaluated, none picked by \
         hand.</p><div class=\"samples\">{cards}</div></section>"
    )
}

fn sample_card(run: &Run, runs: &[Run]) -> Option<String> {
    let image = Png::read(&run.folder.join("samples/evaluation.png"))?;
    let name = label(run, runs);
    let small = if image.width < 400 { " class=\"small\"" } else { "" };
    let mut facts = Vec::new();
    if let Some(fd) = run.number("fd") {
        facts.push(format!("FD {}", Format::Significant.write(fd)));
    }
    if let Some(nfe) = run.number("nfe").filter(|_| !run.is_reference()) {
        let plural = if nfe == 1.0 { "" } else { "s" };
        facts.push(format!("{} network evaluation{plural}", Format::Count.write(nfe)));
    }
    let family = if run.is_reference() { "reference" } else { run.family() };
    let mark = if run.is_reference() { String::new() } else { swatch(run.family()) + " " };
    Some(format!(
        "<figure><img{small} src=\"data:image/png;base64,{}\" width=\"{}\" height=\"{}\" alt=\"Samples of {} ({})\">\
         <figcaption>{mark}<b>{}</b> ({})<br>{}</figcaption></figure>",
        image.base64,
        image.width,
        image.height,
        escape(&name),
        escape(family),
        escape(&name),
        escape(family),
        escape(&facts.join(", "))
    ))
}

/// An image to embed.
struct Png {
    base64: String,
    width: u32,
    height: u32,
}

impl Png {
    /// `None` where there is no such file, or it is no PNG of a sensible size.
    fn read(path: &Path) -> Option<Self> {
        const MAX_BYTES: u64 = 16 << 20;
        if fs::metadata(path).ok()?.len() > MAX_BYTES {
            return None;
        }
        let bytes = fs::read(path).ok()?;
        if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            return None;
        }
        let side = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Png { width: side(16)?, height: side(20)?, base64: STANDARD.encode(&bytes) })
    }
}

fn speed(report: &Report<'_>) -> String {
    let Some(scatter) = report.scatter else { return String::new() };
    let (wide, narrow) = ((860.0, 430.0), (380.0, 380.0));
    format!(
        "<section><h2>Quality against sampling speed</h2><p class=\"note\">Down is closer to the data, right is \
         faster.</p>{}{}</section>",
        scatter.draw(wide).inline("wide", wide, &scatter.alt()),
        scatter.draw(narrow).inline("narrow", narrow, &scatter.alt())
    )
}

fn training(report: &Report<'_>) -> String {
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
        "<section><h2>Training</h2><p class=\"note\">Each loss over seconds of training; every panel has its own \
         scale, which a few extreme values may leave. Losses of different families cannot be \
         compared.</p>{html}</section>"
    )
}

fn protocol(report: &Report<'_>) -> String {
    let models = trained(report.runs);
    let all = |column: &str| escape(&distinct(report.runs, column));
    let of_models = |column: &str| escape(&distinct(&models, column));
    let code = |text: String| if text.is_empty() { text } else { format!(" (SHA-256 <code>{text}</code>)") };
    let mut rows: Vec<(&str, String)> = Vec::new();
    rows.push(("Data", format!("{}{}", all("dataset"), code(all("dataset_sha256")))));
    let budget =
        report.record.map(|record| format!("budget {}, ", escape(&record.budget))).unwrap_or_default();
    let mut training = format!("{budget}seed {}", of_models("seed"));
    if let Some(record) = report.record {
        for (model, settings) in record.settings.iter().filter(|(_, settings)| !settings.is_empty()) {
            let _ = write!(training, "; {} with <code>{}</code>", escape(model), escape(&settings.join(" ")));
        }
    }
    rows.push(("Training", training));
    let mut quality = format!(
        "{} generated against {} test rows in the feature space {}{}; weights: {}",
        of_models("n_fake"),
        of_models("n_real"),
        all("feature_space"),
        code(all("feature_sha256")),
        of_models("weights")
    );
    if !of_models("prdc_k").is_empty() {
        let (k, n) = (of_models("prdc_k"), of_models("prdc_n"));
        let _ =
            write!(quality, "; precision, recall, density and coverage with {k} neighbours among {n} rows");
    }
    rows.push(("Quality", quality));
    let of_each = |describe: &dyn Fn(&Run) -> Option<String>| {
        let describe = |run: &Run| Some(format!("{}: {}", escape(run.model()), escape(&describe(run)?)));
        let mut values: Vec<String> = models.iter().filter_map(describe).collect();
        values.dedup();
        values.join("; ")
    };
    let text = |run: &Run, column: &str| Some(run.text(column).to_owned()).filter(|text| !text.is_empty());
    let samplers = of_each(&|run| text(run, "sampler"));
    let likelihoods = of_each(&|run| {
        let rows = text(run, "n_likelihood").map(|n| format!(" of {n} test rows")).unwrap_or_default();
        Some(text(run, "likelihood_kind")? + &rows)
    });
    for (head, value) in [("Sampler", samplers), ("Likelihood", likelihoods)] {
        if !value.is_empty() {
            rows.push((head, value));
        }
    }
    let mut machine = format!("{} with {} threads", of_models("device"), of_models("threads"));
    if let Some(record) = report.record {
        let m = &record.machine;
        let _ = write!(
            machine,
            "; {}, {} cores, {} GiB, {}",
            escape(&m.cpu),
            m.cores,
            m.memory_gib,
            escape(&m.system)
        );
    }
    rows.push(("Machine", machine));
    rows.push(("Versions", format!("gen {}, libtorch {}", all("tool_version"), all("libtorch_version"))));
    let rows: String = rows.iter().map(|(head, text)| format!("<dt>{head}</dt><dd>{text}</dd>")).collect();
    format!("<section><h2>Protocol</h2><dl>{rows}</dl></section>")
}

#[cfg(test)]
mod tests {
    use super::super::runs::read_all;
    use super::super::runs::tests::run_folder;
    use super::*;

    #[test]
    fn text_is_escaped_also_within_quotes() {
        assert_eq!(
            escape("<a href=\"x\">'&'</a>\u{7}"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;\u{fffd}"
        );
    }

    fn page_of(experiment: &Path) -> String {
        let runs = read_all(experiment).unwrap();
        let (panels, notes) = curves::read(&runs);
        let scatter = super::super::scatter::Scatter::of(&runs);
        page(&Report {
            name: "x",
            record: None,
            runs: &runs,
            panels: &panels,
            scatter: scatter.as_ref(),
            notes: &notes,
        })
    }

    #[test]
    fn the_page_needs_no_other_file_and_names_what_failed() {
        let folder = tempfile::tempdir().unwrap();
        let row = "family,model,dataset,fd,sample_images_per_second\nvae,vae,digits,3.5,100\n";
        let vae = run_folder(folder.path(), "vae-digits-s0", Some(row));
        fs::create_dir(vae.join("samples")).unwrap();
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend([0, 0, 0, 80, 0, 0, 0, 64]);
        fs::write(vae.join("samples/evaluation.png"), &png).unwrap();
        fs::write(vae.join("history.csv"), "seconds,loss_elbo\n1,2\n2,1\n").unwrap();
        run_folder(folder.path(), "ddpm-digits-s0", None);
        let page = page_of(folder.path());
        assert!(page.contains("src=\"data:image/png;base64,") && page.contains("width=\"80\" height=\"64\""));
        assert!(page.contains("<b>ddpm-digits-s0</b> failed: unfinished"));
        assert!(page.contains("Quality against sampling speed") && page.contains("elbo of vae over seconds"));
        for outside in ["http:", "https:", "src=\"/", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn what_is_no_png_is_not_embedded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evaluation.png");
        for bytes in [&b"<svg onload=alert(1)>"[..], b"\x89PNG\r\n\x1a\n", b""] {
            fs::write(&path, bytes).unwrap();
            assert!(Png::read(&path).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn budgets_are_spoken() {
        assert_eq!(spoken("3m"), "3 minutes");
        assert_eq!(spoken("1h"), "1 hour");
        assert_eq!(spoken("90s"), "90 seconds");
        assert_eq!(spoken("20000steps"), "20000 steps");
        assert_eq!(spoken("2Mimages"), "2Mimages");
    }

    #[test]
    fn an_empty_experiment_is_a_page() {
        let folder = tempfile::tempdir().unwrap();
        assert!(page_of(folder.path()).contains("<h1>Generative models</h1>"));
    }
}
