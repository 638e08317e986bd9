//! Text for people: width, numbers, tables.

use std::fmt::Display;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle};

use serde::Serialize;

use super::error::CliError;
use crate::units::Bytes;

/// Width where there is no terminal to ask.
const PIPED_WIDTH: u16 = 80;
/// Narrower than this nothing is readable, wider than that no table gains.
const WIDTHS: std::ops::RangeInclusive<u16> = 40..=120;

/// Nothing but a rule under the header.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

const BOLD: &str = "\x1b[1m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// Columns to print in: what `COLUMNS` says, or the terminal's, or 80.
pub(super) fn width() -> u16 {
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    asked
        .or_else(|| Table::new().width())
        .filter(|&width| width > 0)
        .unwrap_or(PIPED_WIDTH)
        .clamp(*WIDTHS.start(), *WIDTHS.end())
}

/// The text with its escapes, which `anstream` takes out again where they cannot be shown.
pub(super) fn bold(text: impl Display) -> String {
    format!("{BOLD}{text}{PLAIN}")
}

/// Text that warns.
pub(super) fn warning(text: impl Display) -> String {
    format!("{YELLOW}{text}{PLAIN}")
}

/// A text from elsewhere as part of a line: without line breaks and without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace(char::is_control, "?")
}

/// `6738415616` as `6,738,415,616`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The share of a whole in percent, with as many decimals as asked for.
#[allow(clippy::cast_precision_loss)]
pub(super) fn percent(part: u64, whole: u64, decimals: usize) -> String {
    let share = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    format!("{share:.decimals$}")
}

/// A size in GiB without its unit; sizes that would round to nothing keep a digit.
pub(super) fn gib(bytes: Bytes) -> String {
    match bytes.gib() {
        gib if bytes.0 > 0 && gib < 0.005 => "<0.01".to_owned(),
        gib => format!("{gib:.2}"),
    }
}

/// PEFT's `print_trainable_parameters`, in its own form and therefore never wrapped.
pub(super) fn trainable(trained: u64, all: u64) -> String {
    format!(
        "trainable params: {} || all params: {} || trainable%: {}",
        grouped(trained),
        grouped(all),
        percent(trained, all, 4)
    )
}

/// A table's lines without blanks at their ends.
pub(super) fn lines(table: &Table) -> String {
    table.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// A table whose first column is text and whose others are numbers.
pub(super) fn table(header: &[&str], width: u16) -> Table {
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(header.iter().copied());
    for index in 0..header.len() {
        let Some(column) = table.column_mut(index) else { continue };
        if index == 0 {
            // Names that are broken within a word are no names.
            column.set_padding((0, 0)).set_constraint(ColumnConstraint::ContentWidth);
        } else {
            column.set_padding((2, 0)).set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A value as JSON people can read too, and a line's end.
pub(super) fn json(value: &impl Serialize) -> Result<String, CliError> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Words of a paragraph in lines of at most `width`, later lines indented; a longer word keeps a line to itself.
pub(super) fn wrap(text: &str, width: u16, indent: &str) -> String {
    let mut lines = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > indent.len() && used + 1 + length > usize::from(width) {
            lines.push('\n');
            lines.push_str(indent);
            used = indent.len();
        } else if used > 0 {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(word);
        used += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!([0, 999, 1000, 6_738_415_616].map(grouped), ["0", "999", "1,000", "6,738,415,616"]);
    }

    #[test]
    fn pefts_own_line() {
        assert_eq!(
            trainable(4_194_304, 6_742_609_920),
            "trainable params: 4,194,304 || all params: 6,742,609,920 || trainable%: 0.0622"
        );
    }

    #[test]
    fn paragraphs_are_wrapped_and_indented() {
        assert_eq!(wrap("one two three four", 9, "  "), "one two\n  three\n  four");
        assert_eq!(wrap("unbreakable", 4, "  "), "unbreakable");
    }

    #[test]
    fn text_from_elsewhere_stays_on_its_line() {
        assert_eq!(plain("a\n  b\t\u{1b}[31mc"), "a b ?[31mc");
    }

    #[test]
    fn small_sizes_are_not_nothing() {
        assert_eq!([Bytes(0), Bytes(512), Bytes::from_gib(2)].map(gib), ["0.00", "<0.01", "2.00"]);
    }
}
