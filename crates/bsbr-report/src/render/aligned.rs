//! Markdown tables with aligned columns, for reading as text.

/// The Markdown with the columns of its tables aligned.
pub(crate) fn aligned(markdown: &str) -> String {
    let mut out = String::new();
    let mut table: Vec<Vec<&str>> = Vec::new();
    for line in markdown.lines() {
        match cells(line) {
            Some(cells) => table.push(cells),
            None => {
                out.push_str(&of_table(&std::mem::take(&mut table)));
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out + &of_table(&table)
}

/// The cells of a table's line; a `|` within a cell has a backslash before it.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(match inner.starts_with("---") {
        true => inner.split('|').collect(),
        false => inner.split(" | ").map(str::trim).collect(),
    })
}

fn of_table(rows: &[Vec<&str>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let rule = rows.get(1).map(Vec::as_slice).unwrap_or_default();
    let right = |column: usize| rule.get(column).is_some_and(|mark| mark.ends_with(':'));
    let line = |(index, row): (usize, &Vec<&str>)| {
        let cell = |(column, &width): (usize, &usize)| {
            let text = row.get(column).copied().unwrap_or_default();
            let pad = width - text.chars().count();
            match (index == 1, right(column)) {
                (true, true) => format!("{}:|", "-".repeat(width + 1)),
                (true, false) => format!("{}|", "-".repeat(width + 2)),
                (false, true) => format!(" {}{text} |", " ".repeat(pad)),
                (false, false) => format!(" {text}{} |", " ".repeat(pad)),
            }
        };
        let cells: String = widths.iter().enumerate().map(cell).collect();
        format!("|{cells}\n")
    };
    rows.iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_their_marks() {
        let table = "A note.\n\n\
                     | tokens | ms | why |\n\
                     |---|---:|---|\n\
                     | 16 | 1.00 [1.00, 2.00] | a \\| b |\n\
                     | 4096 | 2 |  |\n\n\
                     The end.\n";
        let expected = "A note.\n\n\
                        | tokens |                ms | why    |\n\
                        |--------|------------------:|--------|\n\
                        | 16     | 1.00 [1.00, 2.00] | a \\| b |\n\
                        | 4096   |                 2 |        |\n\n\
                        The end.\n";
        assert_eq!(aligned(table), expected);
    }
}
