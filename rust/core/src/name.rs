//! Names and texts: shared, immutable strings.

use std::sync::Arc;

/// A checked name: 1 to 255 bytes of UTF-8 without control characters \[J1\].
pub type Name = Arc<str>;

/// Any text.
pub type Text = Arc<str>;

/// The longest name, in bytes of UTF-8. Lengths of names fit a byte; `Body` relies on it.
pub const MAX_NAME: usize = 255;

/// Why a text is no name, or nothing. Names are compared byte for byte and never normalised \[J1\].
///
/// # Errors
/// The reason, in words that go behind the field's name.
pub fn check_name(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("must not be empty");
    }
    if text.len() > MAX_NAME {
        return Err("must be at most 255 bytes of UTF-8");
    }
    // Category Cc is exactly U+0000..U+001F and U+007F..U+009F; those above U+007F are encoded as C2 80..C2 9F. A scan to the
    // end, which looks at many bytes at once, decides almost every name.
    let plain = |byte: u8| byte >= 0x20 && byte != 0x7f && byte != 0xc2;
    if text.bytes().fold(true, |all, byte| all & plain(byte)) {
        return Ok(());
    }
    let mut previous = 0;
    for &byte in text.as_bytes() {
        if byte < 0x20 || byte == 0x7f || (previous == 0xc2 && byte < 0xa0) {
            return Err("must not contain control characters");
        }
        previous = byte;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn a_name_is_what_the_unicode_category_says() {
        for point in (0..=0x10_ffff_u32).filter_map(char::from_u32) {
            let name = format!("a{point}b");
            assert_eq!(check_name(&name).is_err(), point.is_control(), "{point:?}");
        }
    }

    #[test]
    fn lengths_are_of_bytes() {
        assert!(check_name("").is_err());
        assert!(check_name(&"a".repeat(255)).is_ok());
        assert!(check_name(&"a".repeat(256)).is_err());
        assert!(check_name(&"é".repeat(127)).is_ok());
        assert!(check_name(&"é".repeat(128)).is_err());
    }
}
