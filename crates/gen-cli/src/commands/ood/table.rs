//! What the scores came to, for a terminal.

use std::io::Write;

use gen_core::number::fixed;
use gen_eval::{Detection, OodScore};

use super::Found;

const HEADER: [&str; 6] = ["score", "AUROC", "+-", "FPR at 95 % TPR", "mean of its own", "mean of others"];

/// A line a score, then what a reader should not miss.
pub(super) fn print(found: &Found) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in lines(found) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn lines(found: &Found) -> Vec<String> {
    let mut cells = vec![HEADER.map(str::to_owned)];
    cells.extend(found.scores.iter().map(|(score, detection)| {
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
    let width = |i: usize| cells.iter().map(|line| line[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
    let aligned = |line: &[String; 6]| {
        let pad = |(i, (cell, width)): (usize, (&String, &usize))| match i {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        };
        let line: Vec<String> = line.iter().zip(&widths).enumerate().map(pad).collect();
        line.join("  ")
    };
    let mut lines: Vec<String> = cells.iter().map(aligned).collect();
    lines.extend(sides(found));
    lines.extend(warning(found));
    lines
}

/// What was compared.
fn sides(found: &Found) -> Option<String> {
    let (_, Detection { n_in, n_out, .. }) = found.scores.first()?;
    let Found { run, model, dataset, against, kind, .. } = found;
    Some(format!(
        "{run} ({model}): {n_in} test rows of {dataset} against {n_out} of {against}, likelihoods ({kind}) in nats; an \
         AUROC of 0.5 is chance"
    ))
}

/// That likelihood alone has it the wrong way round, where it has.
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
        "{} gives {} {higher} ({} against {} nats, AUROC {:.3}): what is unlike its training data is not what it finds \
         unlikely (Nalisnick et al. 2019); {advice}",
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
    use crate::commands::ood::tests::found;

    #[test]
    fn a_line_a_score_and_the_caveat() {
        let lines = lines(&found());
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert!(lines[1].starts_with("log-likelihood  0.250  0.125"), "{lines:?}");
        assert!(
            lines[3].starts_with("flow (glow): 10 test rows of clothes against 20 of digits"),
            "{lines:?}"
        );
        let caveat = "flow gives digits a HIGHER likelihood than its own test data, on average (-500.00 against -900.00";
        assert!(lines[4].starts_with(caveat), "{lines:?}");
        assert!(lines[4].ends_with("the best of the other scores is the typicality, 0.875"), "{lines:?}");
    }

    /// The likelihoods of a model that fell apart, or of rows far from its data.
    #[test]
    fn numbers_of_any_size_fit_the_table() {
        let mut found = found();
        (found.scores[0].1.mean_in, found.scores[0].1.mean_out) = (-1e300, -2.5e8);
        let lines = lines(&found);
        assert!(lines[1].ends_with("-1.00e300         -2.50e8"), "{lines:?}");
        assert!(lines[4].contains("(-2.50e8 against -1.00e300 nats"), "{lines:?}");
    }

    #[test]
    fn there_is_no_caveat_where_likelihood_works() {
        let mut found = found();
        found.scores[0].1.auroc.value = 0.75;
        assert_eq!(lines(&found).len(), 4);
    }
}
