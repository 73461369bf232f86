//! The table of an evaluation for a terminal.

use std::io::Write;

use gen_core::number::fixed;
use gen_eval::{Estimate, Evaluation, Measured};
use gen_report::aligned;

/// Prints a line for each run and feature space, then remarks.
pub(super) fn print(measured: &[Measured]) -> anyhow::Result<()> {
    if measured.is_empty() {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    out.write_all(aligned(lines(measured), |column| (2..12).contains(&column)).as_bytes())?;
    for measured in measured {
        for remark in remarks(measured) {
            writeln!(out, "{}: {remark}", measured.row.run)?;
        }
    }
    for (better, worse) in ties(measured) {
        writeln!(out, "{better} and {worse} tie: their FD differ by less than the noise")?;
    }
    Ok(())
}

/// Pairs of runs that are neighbours in the order of FD in one feature space, and whose FD differ by at most two
/// standard errors of the difference.
fn ties(measured: &[Measured]) -> Vec<(&str, &str)> {
    let mut rows: Vec<(&Evaluation, Estimate)> = measured
        .iter()
        .filter_map(|measured| {
            let standard_error = Some(measured.number("fd_standard_error")?);
            Some((&measured.row, Estimate { value: measured.number("fd")?, standard_error }))
        })
        .collect();
    rows.sort_by(|(a, first), (b, second)| {
        a.feature_space.cmp(&b.feature_space).then(first.value.total_cmp(&second.value))
    });
    let pairs = rows.windows(2).filter(|pair| {
        let ((a, first), (b, second)) = (pair[0], pair[1]);
        a.feature_space == b.feature_space && first.ties_with(second) == Some(true)
    });
    pairs.map(|pair| (pair[0].0.run.as_str(), pair[1].0.run.as_str())).collect()
}

const HEADER: [&str; 12] =
    ["run", "space", "FD", "+-", "floor", "KID", "precision", "recall", "coverage", "likelihood", "NFE", "images/s"];

fn lines(measured: &[Measured]) -> Vec<[String; 12]> {
    let mut lines = vec![HEADER.map(str::to_owned)];
    for all in measured {
        let Measured { row, metrics } = all;
        let mut spaces: Vec<&str> = metrics.iter().map(|found| found.space.as_str()).collect();
        spaces.dedup();
        for space in spaces.iter().filter(|space| **space != "data") {
            let found = |metric: &str| metrics.iter().find(|found| found.space == **space && found.metric == metric);
            let value = |metric: &str| found(metric).map(|found| found.value);
            let is_first = *space == row.feature_space;
            let only_first = |text: String| if is_first { text } else { String::new() };
            lines.push([
                only_first(row.run.clone()),
                (*space).to_owned(),
                number(value("fd"), 3),
                number(found("fd").and_then(|fd| fd.standard_error), 3),
                number(found("fd").and_then(|fd| fd.floor), 3),
                number(value("kid"), 5),
                number(value("precision"), 3),
                number(value("recall"), 3),
                number(value("coverage"), 3),
                only_first(likelihood(all)),
                only_first(row.nfe.map_or(String::new(), |nfe| nfe.to_string())),
                only_first(number(row.sample_images_per_second, 0)),
            ]);
        }
        if spaces.iter().all(|space| *space == "data") {
            let mut line = [const { String::new() }; 12];
            (line[0], line[9]) = (row.run.clone(), likelihood(all));
            lines.push(line);
        }
    }
    lines
}

/// A number for the table; empty if it is missing.
fn number(x: Option<f64>, digits: usize) -> String {
    x.map(|x| fixed(x, digits)).unwrap_or_default()
}

/// The likelihood: bits per dimension for images, nats for points.
fn likelihood(measured: &Measured) -> String {
    let kind = measured.likelihood(false).unwrap_or_default();
    match (measured.number("bits_per_dim"), measured.number("nll_nats")) {
        (Some(bits), _) => format!("{} bits/dim {kind}", number(Some(bits), 3)),
        (None, Some(nats)) => format!("{} nats {kind}", number(Some(nats), 3)),
        _ => String::new(),
    }
}

/// Remarks on what the table alone does not show.
fn remarks(measured: &Measured) -> Vec<String> {
    let Measured { row, .. } = measured;
    let mut remarks = Vec::new();
    if let (Some(true), Some(share)) = (measured.memorised(), measured.number("copied_share")) {
        let share = 100.0 * share;
        remarks.push(format!(
            "memorised: {share:.1} % of the samples are copies of training rows, against 1 % of the test rows"
        ));
    }
    match ["fd", "fd_standard_error", "fd_floor"].map(|column| measured.number(column)) {
        // The floor does not tie with itself.
        [Some(_), _, Some(_)] if row.model == "floor" && row.family == "reference" => {}
        [Some(fd), _, _] if !fd.is_finite() => remarks.push(
            "samples hold values that are not finite, or too large to be squared: their quality has no number"
                .to_owned(),
        ),
        [Some(fd), Some(error), Some(floor)] if fd - floor <= 2.0 * error => {
            remarks.push("the distance is that of real data: a tie with the floor".to_owned());
        }
        [Some(_), None, Some(_)] => remarks.push(format!(
            "{} samples and {} test rows are too few for a standard error of FD: whether the distance is that of real \
             data is unknown",
            row.n_fake.unwrap_or_default(),
            row.n_real.unwrap_or_default()
        )),
        _ => {}
    }
    remarks
}

#[cfg(test)]
mod tests {
    use gen_eval::{Direction, Measurement};

    use super::*;

    fn found(metric: &str, space: &str, value: f64, standard_error: f64) -> Measurement {
        Measurement {
            metric: metric.to_owned(),
            space: space.to_owned(),
            parameter: String::new(),
            value,
            standard_error: Some(standard_error),
            floor: Some(0.5),
            n_real: 9,
            n_fake: 9,
            direction: Direction::Lower,
        }
    }

    fn measured() -> Measured {
        let row = Evaluation {
            run: "vae".to_owned(),
            feature_space: "classifier:x".to_owned(),
            nfe: Some(1),
            ..Evaluation::default()
        };
        let metrics = vec![
            found("fd", "classifier:x", 0.75, 0.25),
            found("copied_share", "classifier:x", 0.5, 0.01),
            found("fd", "pca-64", 3.0, 0.25),
        ];
        Measured { row, metrics }
    }

    #[test]
    fn each_space_has_a_line() {
        let text = aligned(lines(&[measured()]), |column| (2..12).contains(&column));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("vae  classifier:x  0.750  0.250  0.500"), "{lines:?}");
        assert!(lines[2].starts_with("     pca-64        3.000"), "{lines:?}");
    }

    #[test]
    fn differences_within_the_noise_are_ties() {
        let at = |run: &str, fd: f64, space: &str| {
            let row = Evaluation { run: run.to_owned(), feature_space: space.to_owned(), ..Evaluation::default() };
            Measured { row, metrics: vec![found("fd", space, fd, 0.1)] }
        };
        let all = [at("c", 2.0, "x"), at("a", 1.0, "x"), at("b", 1.25, "x"), at("d", 1.0, "y")];
        assert_eq!(ties(&all), [("a", "b")]);
    }

    #[test]
    fn copies_and_ties_have_remarks() {
        let remarks_of = |change: &dyn Fn(&mut Measured)| {
            let mut changed = measured();
            change(&mut changed);
            remarks(&changed)
        };
        let found = remarks_of(&|_| ());
        assert!(found[0].starts_with("memorised: 50.0 %") && found[1].contains("tie with the floor"));
        let found = remarks_of(&|few| {
            few.metrics[0].standard_error = None;
            (few.row.n_fake, few.row.n_real) = (Some(2), Some(359));
        });
        assert!(found.len() == 2 && found[1].starts_with("2 samples and 359 test rows are too few"), "{found:?}");
        let found = remarks_of(&|none| {
            (none.metrics[0].value, none.metrics[0].standard_error) = (f64::NAN, None);
        });
        assert!(found[1].contains("not finite"));
        let found = remarks_of(&|floor| {
            (floor.row.family, floor.row.model) = ("reference".to_owned(), "floor".to_owned());
        });
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn numbers_of_any_size_fit_the_table() {
        let write = |x: f64| number(Some(x), 3);
        assert_eq!((write(0.75), write(-1234.5678)), ("0.750".to_owned(), "-1234.568".to_owned()));
        assert_eq!((write(12_345_678.0), write(-3e30)), ("1.23e7".to_owned(), "-3.00e30".to_owned()));
        assert_eq!((write(f64::INFINITY), write(f64::NAN)), ("inf".to_owned(), "NaN".to_owned()));
    }
}
