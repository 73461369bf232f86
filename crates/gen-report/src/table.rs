//! Tables for a terminal.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Row, Table};

/// Rows as lines of aligned columns, two spaces apart, without spaces at the ends. The columns of `numbers`,
/// counted from 0, are aligned to the right.
pub fn aligned<R: Into<Row>>(rows: impl IntoIterator<Item = R>, numbers: impl Fn(usize) -> bool) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let rows = [["name", "n", "note"], ["é", "12", ""], ["longer", "", "x"]];
        assert_eq!(aligned(rows, |column| column == 1), "name     n  note\né       12\nlonger      x\n");
    }
}
