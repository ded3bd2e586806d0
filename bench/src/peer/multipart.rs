//! Form data (RFC 7578).

use bytes::Bytes;

use super::dialect::Outgoing;

/// No content of ours has it.
const BOUNDARY: &str = "devbox-bench-7f83b1657ff1fc53b92dc18148a1d65d";

/// The media type of a form.
pub(super) fn media_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

/// A form with one file.
pub(super) fn one(field: &str, file_name: &str, content: Outgoing) -> Outgoing {
    content.between(file_head(field, file_name), format!("\r\n--{BOUNDARY}--\r\n").into_bytes())
}

fn file_head(field: &str, file_name: &str) -> Vec<u8> {
    format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{file_name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes()
}

/// A form with many parts, put together in memory.
#[derive(Debug, Default)]
pub(super) struct Form {
    bytes: Vec<u8>,
}

impl Form {
    /// Adds a text.
    pub(super) fn text(&mut self, field: &str, value: &str) {
        let part =
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n");
        self.bytes.extend_from_slice(part.as_bytes());
    }

    /// Adds a file.
    pub(super) fn file(&mut self, field: &str, file_name: &str, content: &[u8]) {
        self.bytes.extend_from_slice(&file_head(field, file_name));
        self.bytes.extend_from_slice(content);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// The whole.
    pub(super) fn finish(mut self) -> Outgoing {
        self.bytes.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        Outgoing::of(Bytes::from(self.bytes))
    }
}
