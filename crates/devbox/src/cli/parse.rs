//! Values as people write them.

use std::num::NonZeroU64;
use std::time::Duration;

use devbox_types::ActingUser;
use devbox_types::archive::{ArchiveFormat, NoSuchFormat};

/// Reads `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it is written NAME=VALUE".to_owned()),
    }
}

/// Reads a number of processors, in thousandths.
pub(super) fn processors(text: &str) -> Result<u32, String> {
    let refused = || "it is a number above 0 with at most three decimals, such as 2 or 0.5".to_owned();
    let millis = decimal(text, 1000).ok_or_else(refused)?;
    u32::try_from(millis).ok().filter(|millis| *millis > 0).ok_or_else(refused)
}

/// Reads a size as [`size`] does, which refuses zero, into a type that has none.
pub(crate) fn some_size(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(size(text)?).ok_or_else(|| "it is more than nothing".to_owned())
}

/// Reads a size in bytes: KiB, MiB, GiB, TiB (or K, M, G, T) are powers of 1024, kB, MB, GB, TB of 1000.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let refused = || "it is a size such as 512MiB, 2GiB or 1500000".to_owned();
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "" | "B" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "m" | "MiB" => 1 << 20,
        "G" | "g" | "GiB" => 1 << 30,
        "T" | "t" | "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(refused()),
    };
    decimal(number, factor).filter(|size| *size > 0).ok_or_else(refused)
}

/// Reads the length of a file, or a place in it: a size, or 0.
pub(super) fn length(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { size(text) }
}

/// Reads a time: a number and `ms`, `s`, `m` or `h`; without a unit, seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let refused = || "it is a time above 0 such as 30s, 500ms, 5m or 1h".to_owned();
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(refused()),
    };
    let milliseconds = decimal(number, factor).filter(|milliseconds| *milliseconds > 0);
    milliseconds.map(Duration::from_millis).ok_or_else(refused)
}

/// Reads the name of an archive format.
pub(super) fn archive_format(text: &str) -> Result<ArchiveFormat, NoSuchFormat> {
    text.parse()
}

/// Reads permission bits.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    let octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o7777);
    mode.ok_or_else(|| "it is an octal number from 0 to 7777, such as 644 or 755".to_owned())
}

/// Reads a user of the box.
pub(super) fn user(text: &str) -> Result<ActingUser, String> {
    text.parse().map_err(|error: devbox_types::user::ActingUserError| error.to_string())
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(text.len());
    (text[..end].trim_end(), &text[end..])
}

/// A decimal number times `factor`, exactly; `None` if that is no whole number or does not fit.
fn decimal(text: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let parts = u128::from(whole.parse::<u64>().ok()?) * u128::from(scale) + fraction.parse::<u128>().ok()?;
    let scaled = parts * u128::from(factor);
    (scaled % u128::from(scale) == 0).then(|| u64::try_from(scaled / u128::from(scale)).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let cases = [
            ("1", Some(1)),
            ("512MiB", Some(512 << 20)),
            ("1.5G", Some(3 << 29)),
            ("2 GB", Some(2_000_000_000)),
            ("0", None),
            ("-1", None),
            ("1.0000001KiB", None),
            ("1XB", None),
            ("", None),
            ("99999999999T", None),
        ];
        for (text, expected) in cases {
            assert_eq!(size(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn processors_are_read_in_thousandths() {
        let cases = [
            ("2", Some(2000)),
            ("0.5", Some(500)),
            ("0.001", Some(1)),
            ("0", None),
            ("0.0001", None),
            ("x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(processors(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn times_are_read() {
        let cases = [
            ("30s", Some(30_000)),
            ("30", Some(30_000)),
            ("1.5m", Some(90_000)),
            ("250ms", Some(250)),
            ("0", None),
            ("1d", None),
        ];
        for (text, expected) in cases {
            assert_eq!(duration(text).ok(), expected.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(mode("755").ok(), Some(0o755));
        for text in ["", "888", "+7", "17777", "0o7"] {
            assert!(mode(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn pairs_need_a_name() {
        assert_eq!(pair("A=b=c").ok(), Some(("A".to_owned(), "b=c".to_owned())));
        assert!(pair("=x").is_err() && pair("x").is_err());
    }
}
