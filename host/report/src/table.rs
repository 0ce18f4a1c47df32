//! Aligned columns without lines, for any width of characters.

use crate::single_line::one_line;
use unicode_width::UnicodeWidthStr;

/// Rows in aligned columns, two spaces apart. A cell is as wide as a terminal shows it, and always
/// one line.
pub fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.width())
                .max()
                .unwrap_or(0)
        })
        .collect();
    rows.iter().map(|row| line(row, &widths)).collect::<Vec<_>>().join("\n")
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        line.push_str(cell);
        if *width > 0 {
            line.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
        }
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_aligned_whatever_the_width_of_their_characters() {
        let rows = [["a", "1", "x"], ["日本", "22", ""], ["é", "", "y"]]
            .map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "a     1   x\n日本  22\né         y");
    }
}
