//! The table of scores for a terminal.

use std::io::Write;

use gen_core::number::fixed;
use gen_eval::{Detection, OodScore};
use gen_report::aligned;

use super::found::Found;

const HEADER: [&str; 6] = ["score", "AUROC", "+-", "FPR at 95 % TPR", "mean of its own", "mean of others"];

/// Prints a line for each score, then remarks.
pub(super) fn print(found: &Found) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(aligned(rows(found), |column| (1..6).contains(&column)).as_bytes())?;
    for remark in remarks(found) {
        writeln!(out, "{remark}")?;
    }
    Ok(())
}

fn rows(found: &Found) -> Vec<[String; 6]> {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(found.scores.iter().map(|(score, detection)| {
        let Detection { auroc, fpr95, mean_in, mean_out, .. } = detection;
        [
            score.to_string(),
            format!("{:.3}", auroc.value),
            auroc.standard_error.map(|error| format!("{error:.3}")).unwrap_or_default(),
            format!("{fpr95:.3}"),
            fixed(*mean_in, 2),
            fixed(*mean_out, 2),
        ]
    }));
    rows
}

fn remarks(found: &Found) -> Vec<String> {
    sides(found).into_iter().chain(warning(found)).collect()
}

/// A description of what was compared.
fn sides(found: &Found) -> Option<String> {
    let (_, Detection { n_in, n_out, .. }) = found.scores.first()?;
    let Found { run, model, dataset, against, kind, .. } = found;
    Some(format!(
        "{run} ({model}): {n_in} test rows of {dataset} against {n_out} of {against}, likelihoods ({kind}) in nats; an \
         AUROC of 0.5 is chance"
    ))
}

/// A warning that likelihood alone prefers the other data, if it does.
fn warning(found: &Found) -> Option<String> {
    let of = |wanted: OodScore| found.scores.iter().find(|(score, _)| *score == wanted);
    let (_, plain) = of(OodScore::LogLikelihood)?;
    if plain.auroc.value >= 0.5 {
        return None;
    }
    let higher = match plain.mean_out > plain.mean_in {
        true => "a HIGHER likelihood than its own test data, on average",
        false => "a higher likelihood than its own test data, more often than not",
    };
    let best = found.scores.iter().max_by(|(_, a), (_, b)| a.auroc.value.total_cmp(&b.auroc.value));
    let advice = match best {
        Some((score, best)) if best.auroc.value > 0.5 => {
            format!("the best of the other scores is the {score}, {:.3}", best.auroc.value)
        }
        _ => "no other score here does better than chance".to_owned(),
    };
    Some(format!(
        "{} gives {} {higher} ({} against {} nats, AUROC {:.3}): data unlike the training data need not have a low \
         likelihood (Nalisnick et al. 2019); {advice}",
        found.run,
        found.against,
        fixed(plain.mean_out, 2),
        fixed(plain.mean_in, 2),
        plain.auroc.value
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::ood::found::tests::found;

    #[test]
    fn each_score_has_a_line_and_a_warning_follows() {
        let text = aligned(rows(&found()), |column| (1..6).contains(&column));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].starts_with("log-likelihood  0.250  0.125"), "{lines:?}");
        let remarks = remarks(&found());
        assert_eq!(remarks.len(), 2, "{remarks:?}");
        let sides = "flow (glow): 10 test rows of clothes against 20 of digits";
        assert!(remarks[0].starts_with(sides), "{remarks:?}");
        let caveat = "flow gives digits a HIGHER likelihood than its own test data, on average (-500.00 against";
        assert!(remarks[1].starts_with(caveat), "{remarks:?}");
        let advice = "the best of the other scores is the typicality, 0.875";
        assert!(remarks[1].ends_with(advice), "{remarks:?}");
    }

    #[test]
    fn numbers_of_any_size_fit_the_table() {
        let mut found = found();
        (found.scores[0].1.mean_in, found.scores[0].1.mean_out) = (-1e300, -2.5e8);
        let text = aligned(rows(&found), |column| (1..6).contains(&column));
        assert!(text.contains("-1.00e300         -2.50e8\n"), "{text}");
        assert!(remarks(&found)[1].contains("(-2.50e8 against -1.00e300 nats"));
    }

    #[test]
    fn there_is_no_warning_where_likelihood_works() {
        let mut found = found();
        found.scores[0].1.auroc.value = 0.75;
        assert_eq!(remarks(&found).len(), 1);
    }
}
