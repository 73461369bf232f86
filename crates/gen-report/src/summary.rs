//! The table of an experiment, as Markdown and for a terminal.

use crate::measures::{self, Kind, Measure, is_likelihood};
use crate::models::Model;
use crate::runs::Run;
use crate::table::aligned;

/// `summary.md`: the main columns, for a README.
pub(crate) fn markdown(runs: &[Run]) -> String {
    let columns = main_columns(runs);
    let line = |cells: Vec<String>| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let heads = columns.iter().map(|column| column.head.to_owned()).collect();
    let rule = columns.iter().map(|column| if column.is_text { "---" } else { "---:" }.to_owned()).collect();
    let row = |index: usize| line(columns.iter().map(|column| column.cells[index].clone()).collect());
    let table = line(heads) + &line(rule) + &(0..runs.len()).map(row).collect::<String>();
    match on_kinds(runs) {
        Some(note) => format!("{table}\n{note}\n"),
        None => table,
    }
}

/// The main columns, aligned.
pub(crate) fn plain(runs: &[Run]) -> String {
    let columns = main_columns(runs);
    let head: Vec<&str> = columns.iter().map(|column| column.head).collect();
    let row = |index: usize| columns.iter().map(|column| column.cells[index].as_str()).collect();
    let rows = std::iter::once(head).chain((0..runs.len()).map(row));
    let mut text = aligned(rows, |index| !columns[index].is_text);
    for run in runs.iter().filter(|run| !run.is_done()) {
        text += &format!("{}: {}\n", run.name(), run.text("error"));
    }
    if let Some(note) = on_kinds(runs) {
        text += &format!("{note}\n");
    }
    text
}

/// Which likelihoods may be compared, where those of a table are of several kinds.
pub(crate) fn on_kinds(runs: &[Run]) -> Option<String> {
    let with_one = |run: &&Run| measures::of_kind(Kind::Likelihood).any(|measure| run.number(&measure.name).is_some());
    let mut kinds: Vec<&str> = runs.iter().filter(with_one).map(|run| run.text("likelihood_kind")).collect();
    kinds.sort_unstable();
    kinds.dedup();
    (kinds.len() > 1).then(|| {
        format!(
            "Likelihoods of one kind may be compared, of different kinds ({}) they may not: all but exact ones are \
             bounds, each \
             with a gap of its own.",
            kinds.join(", ")
        )
    })
}

/// A column of the main table.
struct Column {
    head: &'static str,
    /// Words stand on the left, numbers on the right.
    is_text: bool,
    /// One a run.
    cells: Vec<String>,
}

fn main_columns(runs: &[Run]) -> Vec<Column> {
    let text = |head, cell_of: &dyn Fn(&Run) -> String| Column {
        head,
        is_text: true,
        cells: runs.iter().map(cell_of).collect(),
    };
    let models = Model::all(runs);
    let mut columns =
        vec![text("model", &|run| label(run, &models)), text("status", &|run| run.text("status").to_owned())];
    for measure in measures_of(runs).filter(|measure| measure.is_main()) {
        let cells = runs.iter().map(|run| cell(run, measure)).collect();
        columns.push(Column { head: &measure.head, is_text: false, cells });
        if is_likelihood(&measure.name) {
            columns.push(text("kind", &|run| run.text("likelihood_kind").to_owned()));
        }
    }
    columns
}

/// The measures of which any run has a value.
pub(crate) fn measures_of(runs: &[Run]) -> impl Iterator<Item = &'static Measure> {
    measures::shown().filter(|measure| runs.iter().any(|run| run.number(&measure.name).is_some()))
}

/// A value as tables show it; empty where it does not apply.
pub(crate) fn cell(run: &Run, measure: &Measure) -> String {
    let Some(value) = run.number(&measure.name) else { return run.text(&measure.name).to_owned() };
    let total = run.number("modes_total").filter(|_| measure.name == "modes_covered");
    total.map_or_else(|| measure.format().write(value), |total| format!("{value:.0}/{total:.0}"))
}

/// The model of a run, with the seed where there are several of it.
pub(crate) fn label(run: &Run, models: &[Model<'_>]) -> String {
    let model = models.iter().find(|model| model.runs.iter().any(|other| std::ptr::eq(*other, run)));
    model.map_or_else(|| run.name().to_owned(), |model| model.label_of(run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::read_all;
    use crate::testing::run_folder;

    fn runs() -> Vec<Run> {
        let folder = tempfile::tempdir().unwrap();
        let vae = "run,family,model,seed,fd,likelihood_kind,bits_per_dim\n\
                   anything,vae,vae,0,12.345,lower-bound,3.21\n";
        run_folder(folder.path(), "vae-digits-s0", Some(vae));
        run_folder(folder.path(), "vae-digits-s1", None);
        run_folder(folder.path(), "reference-floor", Some("family,model,fd\nreference,floor,0.5\n"));
        read_all(folder.path()).unwrap()
    }

    #[test]
    fn the_plain_table_is_aligned_and_names_what_failed() {
        let text = plain(&runs());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "model         status     FD  bits/dim  kind");
        assert_eq!(lines[1], "vae (seed 0)  done     12.3     3.210  lower-bound");
        assert_eq!(lines[2], "vae (seed 1)  failed");
        assert_eq!(lines[3], "floor         done    0.500");
        assert_eq!(lines[4], "vae-digits-s1: unfinished");
    }

    #[test]
    fn differing_kinds_of_likelihoods_are_noted() {
        let table = |kinds: [&str; 2]| {
            let folder = tempfile::tempdir().unwrap();
            for (model, kind) in ["vae", "realnvp"].into_iter().zip(kinds) {
                let row = format!("family,model,likelihood_kind,bits_per_dim\nx,{model},{kind},3.21\n");
                run_folder(folder.path(), model, Some(&row));
            }
            let runs = read_all(folder.path()).unwrap();
            [plain(&runs), markdown(&runs)]
        };
        let said = "of different kinds (dequantised, lower-bound) they may not";
        assert!(table(["lower-bound", "dequantised"]).iter().all(|text| text.contains(said)));
        assert!(table(["lower-bound"; 2]).iter().all(|text| !text.contains("different kinds")));
    }

    #[test]
    fn markdown_is_a_table() {
        let text = markdown(&runs());
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("| model | status | FD | bits/dim | kind |"));
        assert_eq!(lines.next(), Some("| --- | --- | ---: | ---: | --- |"));
        assert_eq!(lines.next(), Some("| vae (seed 0) | done | 12.3 | 3.210 | lower-bound |"));
    }
}
