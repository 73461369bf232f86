//! How the numbers were made.

use std::fmt::Write;

use super::{Report, distinct};
use crate::escape::escape;
use crate::runs::Run;

/// When two numbers are a tie.
const NOISE: &str = "between models with several seeds a difference is a tie where its 95 % interval (Welch\u{2019}s t, over \
     the seeds) holds zero; between single runs, where it is at most two of its standard errors; besides, where it is below \
     two standard errors of the floor and, of times, at most 5 %. A number that was measured once and has no standard error \
     gets no place. What is infinite or NaN comes last, and takes a model with it";

pub(super) fn section(report: &Report<'_>) -> String {
    let models: Vec<&Run> = report.runs.iter().filter(|run| !run.is_reference()).collect();
    let all = |column: &str| escape(&distinct(report.runs.iter(), column));
    let of_models = |column: &str| escape(&distinct(models.iter().copied(), column));
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
        let mut values: Vec<String> = models.iter().copied().filter_map(describe).collect();
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
    rows.push(("Noise", NOISE.to_owned()));
    rows.push(("Versions", format!("gen {}, libtorch {}", all("tool_version"), all("libtorch_version"))));
    let rows: String = rows.iter().map(|(head, text)| format!("<dt>{head}</dt><dd>{text}</dd>")).collect();
    format!("<section><h2>Protocol</h2><dl>{rows}</dl></section>")
}
