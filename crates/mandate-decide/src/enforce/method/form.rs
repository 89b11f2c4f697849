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
                let found = !self.in_value && encoded_overrides_method(&self.name);
                *self = Self::default();
                return found;
            }
            b'=' if !self.in_value => {
                self.in_value = true;
                return encoded_overrides_method(&self.name);
            }
            _ if self.in_value => {}
            _ if self.name.len() >= LONGEST_NAME => return true,
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

/// One character that is skipped, encoded: `%E3%80%80`.
const LONGEST_SKIPPED: usize = 9;
