//! Server-sent events, as far as MCP uses them: their data.

/// Takes bytes as they come, and gives the data of each event that is whole.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    after_return: bool,
    data: Option<String>,
}

impl Events {
    /// More of the stream. Data that is no UTF-8 becomes data that is no JSON.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut whole = Vec::new();
        for byte in bytes {
            // A line ends with CR, LF or both (HTML, "Server-sent events").
            let after_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => whole.extend(self.end_of_line()),
                byte => self.line.push(*byte),
            }
        }
        whole
    }

    /// Bytes that wait for more.
    pub(super) fn held(&self) -> usize {
        self.line.len() + self.data.as_ref().map_or(0, String::len)
    }

    fn end_of_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.data.take();
        }
        let line = String::from_utf8_lossy(&line);
        let value = match line.split_once(':') {
            Some(("data", value)) => value.strip_prefix(' ').unwrap_or(value),
            None if line == "data" => "",
            Some(_) | None => return None,
        };
        match &mut self.data {
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
            None => self.data = Some(value.to_owned()),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_comes_whole_however_it_is_cut_and_ended() {
        let stream = ": hello\nid: 1\ndata\n\nevent: message\r\ndata: {\"a\":\r\ndata:1}\r\n\r\ndata: x\r\rdata: never";
        for size in 1..stream.len() {
            let mut events = Events::default();
            let mut found = Vec::new();
            for part in stream.as_bytes().chunks(size) {
                found.extend(events.take(part));
            }
            assert_eq!(found, ["", "{\"a\":\n1}", "x"], "{size}");
            assert_eq!(events.held(), "data: never".len());
        }
    }
}
