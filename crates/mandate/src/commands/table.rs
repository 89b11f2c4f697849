//! Tables on a terminal.

use comfy_table::{ContentArrangement, Table, presets};

/// A table with these columns. Without a terminal it is as wide as it needs to be.
pub(crate) fn render<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table.set_content_arrangement(arrangement(table.width()));
    table.add_rows(rows);
    table.trim_fmt()
}

/// Some terminals say that they have no columns, and no table fits into a few.
fn arrangement(width: Option<u16>) -> ContentArrangement {
    match width {
        Some(width) if width < NARROWEST => ContentArrangement::Disabled,
        Some(_) | None => ContentArrangement::Dynamic,
    }
}

const NARROWEST: u16 = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_of_no_width_gets_whole_lines() {
        let is_whole = |width| matches!(arrangement(width), ContentArrangement::Disabled);
        assert!(is_whole(Some(0)) && is_whole(Some(1)));
        assert!(!is_whole(Some(80)) && !is_whole(None));
    }
}
