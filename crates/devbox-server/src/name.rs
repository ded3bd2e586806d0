//! What names, labels and variables may look like.

use std::collections::BTreeMap;

use devbox_types::ErrorCode;
use devbox_types::devbox::{CreateRequest, Resources};

use crate::refusal::Refusal;

/// A name of a box or project is a DNS label that begins with a letter.
const MAX_NAME_LENGTH: usize = 63;

/// Labels are for filters and lists: every one is kept in memory and shown with its box.
const MAX_LABELS: usize = 64;
const MAX_LABEL_LENGTH: usize = 256;

/// The environment of a box travels to its agent as one environment variable, of which Linux allows 128 KiB.
const MAX_ENV_BYTES: usize = 64 * 1024;

/// Less than this, and a box does not start.
const MIN_CPU_MILLIS: u32 = 10;
const MIN_MEMORY_BYTES: u64 = 16 << 20;
const MIN_PIDS: u32 = 8;

/// Checks all that can be checked of a request without knowing the backend.
pub(crate) fn check_request(request: &CreateRequest) -> Result<(), Refusal> {
    if let Some(name) = &request.name {
        check_name("name", name)?;
    }
    check_labels(&request.labels)?;
    check_env(&request.env)?;
    check_resources(request.resources)
}

/// Checks the name of a box or project.
pub(crate) fn check_name(field: &str, name: &str) -> Result<(), Refusal> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = name.starts_with(|first: char| first.is_ascii_lowercase());
    if begins && name.len() <= MAX_NAME_LENGTH && name.bytes().all(plain) {
        return Ok(());
    }
    Err(invalid(format!("`{field}` has 1 to {MAX_NAME_LENGTH} of a-z, 0-9 and -, and begins with a letter")))
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let fits = |text: &str| text.len() <= MAX_LABEL_LENGTH && !text.contains(|c: char| c.is_control());
    let good =
        |(key, value): (&String, &String)| !key.is_empty() && !key.contains('=') && fits(key) && fits(value);
    if labels.len() <= MAX_LABELS && labels.iter().all(good) {
        return Ok(());
    }
    Err(invalid(format!(
        "`labels` has at most {MAX_LABELS} entries; keys are not empty and have no `=`, and neither keys nor values \
         have control characters or more than {MAX_LABEL_LENGTH} bytes"
    )))
}

fn check_env(env: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let bytes: usize = env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let good = |(name, value): (&String, &String)| {
        !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
    };
    if bytes <= MAX_ENV_BYTES && env.iter().all(good) {
        return Ok(());
    }
    Err(invalid(format!(
        "`env` has at most {MAX_ENV_BYTES} bytes; names are not empty and have no `=`, and nothing has NUL bytes"
    )))
}

fn check_resources(resources: Resources) -> Result<(), Refusal> {
    let enough = resources.cpu_millis.is_none_or(|cpu| cpu >= MIN_CPU_MILLIS)
        && resources.memory_bytes.is_none_or(|memory| memory >= MIN_MEMORY_BYTES)
        && resources.pids.is_none_or(|pids| pids >= MIN_PIDS);
    if enough {
        return Ok(());
    }
    Err(invalid(format!(
        "`resources` gives at least {MIN_CPU_MILLIS} cpu_millis, {MIN_MEMORY_BYTES} memory_bytes and {MIN_PIDS} pids"
    )))
}

fn invalid(detail: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for name in ["a", "web-1", &"a".repeat(63)] {
            assert!(check_name("name", name).is_ok(), "{name:?}");
        }
        for name in ["", "1a", "-a", "A", "a_b", "a/b", "a.b", "ä", &"a".repeat(64)] {
            assert!(check_name("name", name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn variables_that_no_process_can_have_are_refused() {
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0")] {
            let env = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            assert!(check_env(&env).is_err(), "{name:?}={value:?}");
        }
        assert!(check_env(&BTreeMap::from([("A".to_owned(), "x".repeat(70_000))])).is_err());
    }
}
