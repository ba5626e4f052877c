//! Instants: whole microseconds since 1970 in UTC.

use chrono::{DateTime, SecondsFormat, Utc};

/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// The last instant that a job can carry: the end of the year 2254. Every instant up to it fits the 53 bits of a double,
/// which is what Redis scores and Lua numbers hold \[Q28\].
pub const MAX_TIME: Micros = 8_993_721_600_000_000 - 1;

/// Whether an instant lies in the range that a job can carry.
#[must_use]
pub fn check_time(at: Micros) -> bool {
    (0..=MAX_TIME).contains(&at)
}

/// RFC 3339 in UTC with as many digits as needed.
#[must_use]
pub fn format_time(at: Micros) -> String {
    DateTime::<Utc>::from_timestamp_micros(at).map_or_else(
        // Unreachable for a checked instant; the number is better than a panic.
        || at.to_string(),
        |instant| instant.to_rfc3339_opts(SecondsFormat::AutoSi, true),
    )
}

/// Reads RFC 3339 with any offset. Digits beyond the microsecond are cut off, as the reference writes nanoseconds.
///
/// # Errors
/// The reason, in words that go behind the field's name.
pub fn parse_time(text: &str) -> Result<Micros, &'static str> {
    let at =
        DateTime::parse_from_rfc3339(text).map_err(|_| "must be an RFC 3339 time with an offset")?.timestamp_micros();
    if check_time(at) { Ok(at) } else { Err("must lie between 1970 and 2254") }
}

#[cfg(test)]
mod tests {
    use super::{MAX_TIME, check_time, format_time, parse_time};

    #[test]
    fn the_last_instant_is_the_end_of_2254() {
        assert_eq!(format_time(MAX_TIME), "2254-12-31T23:59:59.999999Z");
        assert!(check_time(MAX_TIME) && !check_time(MAX_TIME + 1) && check_time(0) && !check_time(-1));
        const { assert!(MAX_TIME < 1 << 53) };
    }

    #[test]
    fn times_survive_the_text() {
        for at in [0, 1, 999_999, 1_000_000, 1_700_000_000_123_456, MAX_TIME] {
            assert_eq!(parse_time(&format_time(at)), Ok(at));
        }
        assert_eq!(parse_time("1970-01-01T01:00:00+01:00"), Ok(0));
        assert_eq!(parse_time("1970-01-01T00:00:00.123456789Z"), Ok(123_456));
        assert!(parse_time("1970-01-01T00:00:00").is_err());
        assert!(parse_time("1969-12-31T23:59:59Z").is_err());
    }
}
