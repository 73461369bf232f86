//! How the numbers were made.

use maud::{Markup, html};

use super::parts::{Report, distinct};
use crate::runs::Run;

/// When two numbers are a tie.
const NOISE: &str = "between models with several seeds, a difference is a tie where its 95 % confidence interval \
                     (Welch\u{2019}s \
     t, over the seeds) includes zero; between single runs, where it is at most two of its standard errors. \
     Differences \
     below two standard errors of the floor, and differences of times of at most 5 %, are ties too. A number that was \
     measured once and has no standard error is not ranked. Infinite and NaN values come last, and make the mean of \
     their model infinite or NaN";

pub(super) fn section(report: &Report<'_>) -> Markup {
    let models: Vec<&Run> = report.runs.iter().filter(|run| !run.is_reference()).collect();
    let all = |column: &str| distinct(report.runs.iter(), column);
    let of_models = |column: &str| distinct(models.iter().copied(), column);
    let sha256 = |column: &str| {
        let sum = all(column);
        html! { @if !sum.is_empty() { " (SHA-256 " code { (sum) } ")" } }
    };
    let (k, n) = (of_models("prdc_k"), of_models("prdc_n"));
    let of_each = |describe: &dyn Fn(&Run) -> Option<String>| {
        let describe = |run: &Run| Some(format!("{}: {}", run.model(), describe(run)?));
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
    let training = html! {
        @if let Some(record) = report.record { "budget " (record.budget) ", " }
        "seed " (of_models("seed"))
        @for (model, settings) in report.record.iter().flat_map(|record| &record.settings) {
            @if !settings.is_empty() { "; " (model) " with " code { (settings.join(" ")) } }
        }
    };
    let quality = html! {
        (of_models("n_fake")) " samples against " (of_models("n_real")) " test rows in the feature space "
        (all("feature_space")) (sha256("feature_sha256")) "; weights: " (of_models("weights"))
        @if !k.is_empty() {
            "; precision, recall, density and coverage with " (k) " neighbours among " (n) " rows"
        }
    };
    let machine = html! {
        (of_models("device")) " with " (of_models("threads")) " threads"
        @if let Some(machine) = report.record.map(|record| &record.machine) {
            "; " (machine.cpu) ", " (machine.cores) " cores, " (machine.memory_gib) " GiB, " (machine.system)
        }
    };
    html! {
        section {
            h2 { "Protocol" }
            dl {
                dt { "Data" } dd { (all("dataset")) (sha256("dataset_sha256")) }
                dt { "Training" } dd { (training) }
                dt { "Quality" } dd { (quality) }
                @for (head, value) in [("Sampler", samplers), ("Likelihood", likelihoods)] {
                    @if !value.is_empty() { dt { (head) } dd { (value) } }
                }
                dt { "Machine" } dd { (machine) }
                dt { "Noise" } dd { (NOISE) }
                dt { "Versions" } dd { "gen " (all("tool_version")) ", libtorch " (all("libtorch_version")) }
            }
        }
    }
}
