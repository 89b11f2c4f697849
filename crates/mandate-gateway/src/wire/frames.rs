//! Frames of HTTP/2 that cost their receiver something and bring nothing: counted, and too many of
//! them end the connection (RFC 9113 §10.5).
//!
//! h2 bounds what each kind of them can make it keep; nothing bounds what a connection can make it do.
//! `WINDOW_UPDATE` is left out: a client sends as many as it reads bytes, and they make h2 do nothing.

use std::time::Duration;

use mandate_model::BootTime;

/// Counts frames as they pass.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// What has come of the next frame's header.
    header: [u8; HEADER],
    have: usize,
    /// What is left of the present frame's payload.
    payload: usize,
    idle: u32,
    since: Option<BootTime>,
}

/// A connection that keeps its receiver busy with nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many frames that bring nothing")]
pub(super) struct Flood;

impl Frames {
    /// Looks at the next bytes of the connection.
    pub(super) fn pass(&mut self, mut bytes: &[u8], now: BootTime) -> Result<(), Flood> {
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some(missing) = self.header.get_mut(self.have..) else {
                return Err(Flood);
            };
            let taken = missing.len().min(bytes.len());
            missing
                .iter_mut()
                .zip(bytes)
                .for_each(|(to, from)| *to = *from);
            bytes = bytes.get(taken..).unwrap_or_default();
            self.have += taken;
            if self.have == HEADER {
                self.have = 0;
                self.frame(now)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, now: BootTime) -> Result<(), Flood> {
        let [a, b, c, kind, flags, ..] = self.header;
        let [a, b, c] = [a, b, c].map(usize::from);
        self.payload = a << 16 | b << 8 | c;
        let brings = match kind {
            // With END_STREAM an empty one ends a body.
            DATA => self.payload > 0 || flags & 1 == 1,
            HEADERS | WINDOW_UPDATE => true,
            _other => false,
        };
        if brings {
            return Ok(());
        }
        if self.since.is_none_or(|since| now.since(since) >= WINDOW) {
            (self.since, self.idle) = (Some(now), 0);
        }
        self.idle += 1;
        if self.idle > MOST { Err(Flood) } else { Ok(()) }
    }
}

const HEADER: usize = 9;
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const WINDOW_UPDATE: u8 = 0x8;
const WINDOW: Duration = Duration::from_secs(10);
/// A client that resets or pings a hundred times a second is still no attacker.
const MOST: u32 = 1000;
