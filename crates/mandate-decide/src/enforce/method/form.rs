//! Names of `application/x-www-form-urlencoded`.

use super::LONGEST_NAME;
use crate::enforce::parameter::{encoded_overrides_method, is_skipped};

/// The pairs of a body, of which only names are looked at.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    name: Vec<u8>,
    in_value: bool,
}

impl Pairs {
    pub(super) fn finds(&mut self, byte: u8) -> bool {
        match byte {
            // Some part pairs at `;` too.
            b'&' | b';' => {
                let found = !self.in_value && self.is_override();
                *self = Self::default();
                return found;
            }
            b'=' if !self.in_value => {
                self.in_value = true;
                return self.is_override();
            }
            _ if self.in_value || self.name.len() >= LONGEST_NAME => {}
            _ => {
                self.name.push(byte);
                // However much of it stands before a name, servers that skip it find the name.
                if self.name.len() <= LONGEST_SKIPPED && is_skipped(&self.name) {
                    self.name.clear();
                }
            }
        }
        false
    }
}

impl Pairs {
    /// What stands before a name was left out, and what may stand after it is skipped: a name that is longer than
    /// what is kept of it is told by that, but for an escape that was cut.
    fn is_override(&self) -> bool {
        let kept = self.name.len().saturating_sub(LONGEST_ESCAPE);
        let cut = self.name.iter().skip(kept).position(|byte| *byte == b'%');
        let whole = match cut {
            Some(cut) if self.name.len() >= LONGEST_NAME => self.name.get(..kept + cut),
            Some(_) | None => None,
        };
        encoded_overrides_method(&self.name) || whole.is_some_and(encoded_overrides_method)
    }
}

/// `%uXXXX` without its end.
const LONGEST_ESCAPE: usize = 5;
/// One character that is skipped, encoded: `%E3%80%80`.
const LONGEST_SKIPPED: usize = 9;
