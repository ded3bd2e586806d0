//! JSON where only ASCII may go.

use std::fmt::Write as _;

use serde::Serialize;

/// Writes a value as compact JSON that a header may carry: what is not printable ASCII is written `\uXXXX`.
///
/// # Errors
/// Whatever the value's own serialisation fails with; ours never do.
pub fn to_ascii(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string(value)?;
    if json.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Ok(json);
    }
    let mut escaped = String::with_capacity(json.len() * 2);
    for character in json.chars() {
        if (' '..='~').contains(&character) {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_survives_as_a_header() {
        for text in ["plain", "ümläut", "🦀", "tab\tdel\x7f", "line\nbreak"] {
            let json = to_ascii(&text).expect("json");
            http::HeaderValue::from_str(&json).expect("a header value");
            assert_eq!(serde_json::from_str::<String>(&json).expect("json"), text);
        }
    }
}
