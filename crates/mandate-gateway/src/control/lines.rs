//! Lines of a body that never ends.

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mandate_ports::control::ControlMessage;

use super::ControlError;

/// The messages of an open stream, in order.
pub(super) struct Messages {
    body: Incoming,
    buffer: BytesMut,
    /// How far the buffer is known to hold no line end.
    searched: usize,
}

impl Messages {
    pub(super) fn new(body: Incoming) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            searched: 0,
        }
    }

    /// The next message. Cancel safe: what was read is kept.
    pub(super) async fn next(&mut self) -> Result<ControlMessage, ControlError> {
        loop {
            if let Some(line) = self.take_line() {
                return serde_json::from_slice(&line)
                    .map_err(|e| ControlError::Unreadable(format!("a line is no message: {e}")));
            }
            if self.buffer.len() > MAX_LINE {
                return Err(ControlError::Unreadable("a line is too long".to_owned()));
            }
            let frame = self.body.frame().await;
            let frame = frame
                .ok_or_else(|| ControlError::NoAnswer("the stream ended".to_owned()))?
                .map_err(|e| ControlError::NoAnswer(e.to_string()))?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    fn take_line(&mut self) -> Option<BytesMut> {
        let unsearched = self.buffer.get(self.searched..)?;
        match unsearched.iter().position(|b| *b == b'\n') {
            Some(at) => {
                let line = self.buffer.split_to(self.searched + at);
                self.buffer.advance(1);
                self.searched = 0;
                Some(line)
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }
}

const MAX_LINE: usize = 32 * 1024 * 1024;
