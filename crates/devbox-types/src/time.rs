//! Points in time, to the nanosecond, as RFC 3339 on the wire.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A point in time as file systems keep it: nanoseconds around 1970-01-01T00:00:00Z.
///
/// On the wire it is RFC 3339 in UTC with nine digits of fraction (`2026-11-24T20:18:33.000000000Z`); offsets are
/// accepted and turned into UTC. The range is that of a 64-bit count of nanoseconds: the years 1677 to 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    nanoseconds: i64,
}

/// A text was not an RFC 3339 time in range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time such as 2026-11-24T20:18:33Z")]
pub struct TimestampError;

const NANOSECONDS: i64 = 1_000_000_000;

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self { nanoseconds: 0 };

    /// The time this many nanoseconds after (or before) the epoch.
    #[must_use]
    pub fn from_nanoseconds(nanoseconds: i64) -> Self {
        Self { nanoseconds }
    }

    /// The time that `stat` reports as seconds and nanoseconds; what lies beyond the range becomes its end.
    #[must_use]
    pub fn from_parts(seconds: i64, nanoseconds: u32) -> Self {
        Self { nanoseconds: seconds.saturating_mul(NANOSECONDS).saturating_add(i64::from(nanoseconds)) }
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub fn nanoseconds(self) -> i64 {
        self.nanoseconds
    }

    /// Seconds since the epoch, rounded down, and the nanoseconds above them.
    #[must_use]
    pub fn parts(self) -> (i64, u32) {
        let fraction = self.nanoseconds.rem_euclid(NANOSECONDS);
        (self.nanoseconds.div_euclid(NANOSECONDS), u32::try_from(fraction).unwrap_or(0))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let nanoseconds = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self::from_nanoseconds(nanoseconds(after)),
            Err(before) => Self::from_nanoseconds(-nanoseconds(before.duration())),
        }
    }
}

/// The text of a time, which is of one length: years have four digits here.
struct Text([u8; 30]);

impl Text {
    /// Written digit by digit: listings have two times an entry, and formatting them was half of their cost.
    fn of(time: Timestamp) -> Self {
        let (seconds, fraction) = time.parts();
        let (year, month, day) = date_of(seconds.div_euclid(86_400));
        let clock = seconds.rem_euclid(86_400);
        let mut text = Self(*b"0000-00-00T00:00:00.000000000Z");
        text.put(0, 4, year);
        text.put(5, 2, month);
        text.put(8, 2, day);
        text.put(11, 2, clock / 3600);
        text.put(14, 2, clock / 60 % 60);
        text.put(17, 2, clock % 60);
        text.put(20, 9, i64::from(fraction));
        text
    }

    /// Writes the last `length` digits of a number that is not negative.
    fn put(&mut self, from: usize, length: usize, mut number: i64) {
        const DIGITS: &[u8; 10] = b"0123456789";
        for place in (from..from + length).rev() {
            self.0[place] = DIGITS[usize::try_from(number % 10).unwrap_or(0)];
            number /= 10;
        }
    }

    fn as_str(&self) -> &str {
        // ASCII throughout, so it always is.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(Text::of(*self).as_str())
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        parse(text).ok_or(TimestampError)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Text::of(*self).as_str())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimestampVisitor;

        impl Visitor<'_> for TimestampVisitor {
            type Value = Timestamp;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an RFC 3339 time")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(TimestampVisitor)
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let fixed = text.get(..19)?;
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(place, byte)| fixed.as_bytes()[*place] != *byte) {
        return None;
    }
    let number = |from: usize, to: usize| digits(&fixed[from..to]);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let days = days_of(year, month, day);
    if date_of(days) != (year, month, day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, offset) = split_fraction(&text[19..])?;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset_seconds(offset)?;
    let nanoseconds = seconds.checked_mul(NANOSECONDS)?.checked_add(fraction)?;
    Some(Timestamp { nanoseconds })
}

/// Reads at most nine digits.
fn digits(text: &str) -> Option<i64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    text.bytes().try_fold(0, |number, byte| Some(number * 10 + digit(byte)?)).filter(|_| !text.is_empty())
}

/// Splits `.123Z` into nanoseconds and the offset behind them.
fn split_fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let length = rest.bytes().take_while(u8::is_ascii_digit).count();
    if !(1..=9).contains(&length) {
        return None;
    }
    let fraction = digits(&rest[..length])? * 10_i64.pow(u32::try_from(9 - length).ok()?);
    Some((fraction, &rest[length..]))
}

fn offset_seconds(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, clock) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(clock), _) => (1, clock),
        (_, Some(clock)) => (-1, clock),
        _ => return None,
    };
    let (hour, minute) = clock.split_once(':')?;
    if hour.len() != 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    (hour < 24 && minute < 60).then_some(sign * (hour * 3600 + minute * 60))
}

/// Days since the epoch of a date of the proleptic Gregorian calendar.
/// Years are counted from March, so that the leap day is the last of its year.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day counted from the epoch; the inverse of [`days_of`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times_are_written_and_read() {
        let known = [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, 5, "2000-02-29T00:00:00.000000005Z"),
            (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
        ];
        for (seconds, nanoseconds, text) in known {
            assert_eq!(Timestamp::from_parts(seconds, nanoseconds).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp::from_parts(seconds, nanoseconds)));
        }
    }

    #[test]
    fn offsets_and_short_fractions_are_understood() {
        assert_eq!("1970-01-01T01:00:00.5+01:00".parse(), Ok(Timestamp::from_nanoseconds(500_000_000)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "2026-11-24",
            "2026-02-30T00:00:00Z",
            "2026-11-24T20:18:33",
            "2026-11-24T20:18:33.Z",
            "+026-11-24T20:18:33Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T20:18:33+1:00",
            "2026-11-24T20:18:33+99999999999999999999:00",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimestampError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_time_survives_the_wire(nanoseconds: i64) {
            let time = Timestamp::from_nanoseconds(nanoseconds);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }
    }
}
