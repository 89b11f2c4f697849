//! What others wrote, so that it can stand in a log, on a terminal or in a comment.

/// `text` with everything escaped that a terminal, a line or the order of reading could be changed by, cut after
/// `longest` characters.
pub(crate) fn plain(text: &str, longest: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(longest));
    for (n, c) in text.chars().enumerate() {
        if n == longest {
            shown.push('…');
            break;
        }
        if c.is_control() || is_invisible(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Ends of lines, marks of direction, what has no width and what is blank (Unicode TR 36): a reader would see another
/// text.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}' | '\u{ffa0}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_change_a_terminal_is_shown_and_not_done() {
        assert_eq!(plain("a\u{1b}[31mb\nc", 100), "a\\u{1b}[31mb\\u{a}c");
        assert_eq!(plain("\u{202e}evil", 100), "\\u{202e}evil");
        assert_eq!(
            plain("\u{61c}a\u{ad}\u{3164}", 9),
            "\\u{61c}a\\u{ad}\\u{3164}"
        );
        assert_eq!(plain("grün", 100), "grün");
        assert_eq!(plain("abcdef", 3), "abc…");
    }
}
