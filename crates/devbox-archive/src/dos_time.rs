//! Times as MS-DOS kept them: in steps of two seconds, from 1980 to 2107.

use devbox_types::Timestamp;

/// A date and a time of day, as zip headers carry them. Taken as UTC, since the format knows no zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DosTime {
    pub(crate) time: u16,
    pub(crate) date: u16,
}

const FIRST: DosTime = DosTime { time: 0, date: 1 << 5 | 1 };
const LAST: DosTime = DosTime { time: 23 << 11 | 59 << 5 | 29, date: 127 << 9 | 12 << 5 | 31 };

impl From<Timestamp> for DosTime {
    /// What lies outside becomes the first or last time there is.
    fn from(time: Timestamp) -> Self {
        // The text has fixed columns: 2026-11-24T20:18:33.
        let text = time.to_string();
        let number = |columns| text.get(columns).and_then(|digits: &str| digits.parse::<u16>().ok());
        let parts =
            (number(0..4), number(5..7), number(8..10), number(11..13), number(14..16), number(17..19));
        let (Some(year), Some(month), Some(day), Some(hour), Some(minute), Some(second)) = parts else {
            return FIRST;
        };
        match year {
            ..1980 => FIRST,
            1980..=2107 => Self {
                time: hour << 11 | minute << 5 | (second / 2),
                date: (year - 1980) << 9 | month << 5 | day,
            },
            _ => LAST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_to_two_seconds_and_within_the_range() {
        let time = |text: &str| DosTime::from(text.parse::<Timestamp>().expect("a time"));
        let expected = DosTime { time: 20 << 11 | 18 << 5 | 16, date: 46 << 9 | 11 << 5 | 24 };
        assert_eq!(time("2026-11-24T20:18:33Z"), expected);
        assert_eq!(time("1970-01-01T00:00:00Z"), FIRST);
        assert_eq!(time("2200-01-01T00:00:00Z"), LAST);
    }
}
