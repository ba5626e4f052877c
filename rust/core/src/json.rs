//! JSON text: one way to write a value, so that equal values have equal texts.
//!
//! Arguments, metadata and results are written once and stay text from then on. Writing and reading of single values is
//! `serde_json`'s; what this module adds is the contract's limits \[J3\]: depth, the range of integers, no value that JSON
//! text cannot hold.

use std::{fmt, io};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// How deep containers may be nested, the outermost list of arguments not counted \[J3\].
pub const MAX_DEPTH: usize = 64;

/// Writes compact JSON text piece by piece.
#[derive(Debug, Default)]
pub struct Writer(String);

impl Writer {
    /// An empty text with room for that many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// What has been written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes the writer empty and keeps its buffer.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Bytes written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Structure, `null`, `true` and the like: ASCII as it stands.
    pub fn raw(&mut self, ascii: &'static str) {
        self.0.push_str(ascii);
    }

    /// Text that is JSON already.
    pub fn json(&mut self, json: &str) {
        self.0.push_str(json);
    }

    /// A string in quotes.
    pub fn string(&mut self, text: &str) {
        // Nearly every string needs no escape; a scan of bytes and one copy is what that costs. A scan to the end looks at
        // many bytes at once, which one that may stop early does not.
        let escaped = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        if text.bytes().fold(true, |plain, byte| plain & !escaped(byte)) {
            self.0.push('"');
            self.0.push_str(text);
            self.0.push('"');
        } else {
            self.value(text);
        }
    }

    /// An integer.
    pub fn signed(&mut self, number: i64) {
        self.value(&number);
    }

    /// An integer.
    pub fn unsigned(&mut self, number: u64) {
        self.value(&number);
    }

    /// A float: the shortest digits that read back as the same double, with a fraction or an exponent, so that it never
    /// reads back as an integer. False, and nothing written, where it is no number.
    #[must_use]
    pub fn float(&mut self, number: f64) -> bool {
        if number.is_finite() {
            self.value(&number);
        }
        number.is_finite()
    }

    fn value<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        // Writing strings and numbers into memory has no error.
        let _ = serde_json::to_writer(self, value);
    }
}

/// What `serde_json` writes comes in pieces that are text each.
impl io::Write for Writer {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.push_str(std::str::from_utf8(piece).map_err(io::Error::other)?);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads any JSON text and writes it as [`Writer`] does, checked against the limits. `depth` is that of the outermost value:
/// 0 for a list of arguments, 1 for a single value.
///
/// # Errors
/// The reason, in words that go behind the field's name.
pub fn canonical(json: &str, depth: usize) -> Result<String, String> {
    let mut writer = Writer::with_capacity(json.len());
    let mut reader = serde_json::Deserializer::from_str(json);
    Transcode { writer: &mut writer, depth }.deserialize(&mut reader).map_err(|error| reason(&error))?;
    reader.end().map_err(|error| reason(&error))?;
    Ok(writer.as_str().to_owned())
}

fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // serde_json puts its own position behind a message of ours; the message alone is what the user can act on.
    match text.find(" at line ") {
        Some(end) if error.is_data() => text[..end].to_owned(),
        _ => format!("is no valid JSON: {text}"),
    }
}

/// Writes strings by name as a JSON object; None when there are none. The names must differ.
#[must_use]
pub fn canonical_text_map(map: &[(String, String)]) -> Option<String> {
    if map.is_empty() {
        return None;
    }
    let mut writer = Writer::default();
    for (at, (key, value)) in map.iter().enumerate() {
        writer.raw(if at == 0 { "{" } else { "," });
        writer.string(key);
        writer.raw(":");
        writer.string(value);
    }
    writer.raw("}");
    Some(writer.as_str().to_owned())
}

struct Transcode<'w> {
    writer: &'w mut Writer,
    depth: usize,
}

impl Transcode<'_> {
    fn inner(&mut self) -> Transcode<'_> {
        Transcode { writer: &mut *self.writer, depth: self.depth + 1 }
    }

    fn check_depth<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth > MAX_DEPTH {
            return Err(E::custom(format!("must not be nested deeper than {MAX_DEPTH}")));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Transcode<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Transcode<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.writer.raw("null");
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.writer.raw(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.writer.signed(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.writer.unsigned(value);
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        if self.writer.float(value) { Ok(()) } else { Err(E::custom("must not hold an infinite number")) }
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.writer.string(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.check_depth()?;
        self.writer.raw("[");
        let mut first = true;
        loop {
            let before = self.writer.len();
            if !first {
                self.writer.raw(",");
            }
            if items.next_element_seed(self.inner())?.is_none() {
                self.writer.0.truncate(before);
                break;
            }
            first = false;
        }
        self.writer.raw("]");
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.check_depth()?;
        self.writer.raw("{");
        let mut first = true;
        while let Some(key) = items.next_key::<std::borrow::Cow<'de, str>>()? {
            if !first {
                self.writer.raw(",");
            }
            first = false;
            self.writer.string(&key);
            self.writer.raw(":");
            items.next_value_seed(self.inner())?;
        }
        self.writer.raw("}");
        Ok(())
    }

    fn visit_i128<E: serde::de::Error>(self, _: i128) -> Result<(), E> {
        Err(E::custom("must not hold an integer outside -2^63 to 2^64-1"))
    }
}

/// Whether a JSON number token is an integer that no reader of ours could hold: `serde_json` would make a float of it.
pub(crate) fn has_wide_integer(json: &str) -> bool {
    let bytes = json.as_bytes();
    let (mut at, mut quoted) = (0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'-' | b'0'..=b'9' if !quoted => {
                let end = bytes[at..]
                    .iter()
                    .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
                    .map_or(bytes.len(), |length| at + length);
                let token = &json[at..end];
                if !token.contains(['.', 'e', 'E']) && token.parse::<i64>().is_err() && token.parse::<u64>().is_err() {
                    return true;
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{MAX_DEPTH, canonical, has_wide_integer};

    #[test]
    fn what_is_written_reads_back_as_the_same() {
        for text in [
            "[]",
            "[{}]",
            "[1,1.0,-0.0,0,null,true,false]",
            r#"["","a\u0000b","\"\\","é"]"#,
            "[-9223372036854775808,18446744073709551615,1e16,5e-324,1.7976931348623157e308]",
            r#"[{"a":[1,[2]],"b":{"c":"d"}}]"#,
        ] {
            let once = canonical(text, 0).unwrap();
            assert_eq!(canonical(&once, 0).unwrap(), once);
        }
        assert_eq!(canonical(" [ 1 , { \"a\" : 2 } ] ", 0).unwrap(), r#"[1,{"a":2}]"#);
        assert_eq!(canonical(r#"["a\u0000b"]"#, 0).unwrap(), r#"["a\u0000b"]"#);
        assert_eq!(canonical("[1.0, -0.0]", 0).unwrap(), "[1.0,-0.0]");
    }

    #[test]
    fn the_limits_hold() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(canonical(&nested(MAX_DEPTH + 1), 0).is_ok());
        assert!(canonical(&nested(MAX_DEPTH + 2), 0).is_err());
        assert!(canonical("[1", 0).is_err());
        assert!(canonical("[1] 2", 0).is_err());
        assert!(canonical(r#"["\ud800"]"#, 0).is_err());
        assert!(has_wide_integer("[18446744073709551616]"));
        assert!(has_wide_integer("[-9223372036854775809]"));
        assert!(!has_wide_integer(r#"["18446744073709551616\"", 18446744073709551615, 1e40]"#));
    }
}
