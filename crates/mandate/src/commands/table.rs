//! Tables on a terminal.

use comfy_table::{ContentArrangement, Table, presets};

/// A table with these columns. Without a terminal it is as wide as it needs to be.
pub(crate) fn render<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table.add_rows(rows);
    table.trim_fmt()
}
