//! How much one key may do, and how long peers are waited for.

use std::num::NonZeroU64;
use std::time::Duration;

use devbox_server::{Limits, Rate, Timeouts};

use super::file::ServeSection;
use super::{Environment, SettingsError};
use crate::cli::{ServeArgs, parse};

/// Limits and timeouts of a server, with every default filled in.
pub(super) fn limits(
    args: &ServeArgs,
    environment: &impl Environment,
    section: &ServeSection,
) -> Result<(Limits, Timeouts), SettingsError> {
    let number = |name, setting: Option<NonZeroU64>| match environment.text(name)? {
        Some(value) => whole_number(name, value).map(Some),
        None => Ok(setting),
    };
    let bytes = |name, setting: &Option<String>| {
        let value = environment.text(name)?.map(|value| (name, value));
        value.or_else(|| Some((name, setting.clone()?))).map(|(name, value)| size(name, value)).transpose()
    };
    let seconds = |name, setting, default: Duration| {
        Ok(number(name, setting)?.map_or(default, |seconds| Duration::from_secs(seconds.get())))
    };
    let count = |number: Option<NonZeroU64>, default: usize| {
        number.map_or(default, |number| usize::try_from(number.get()).unwrap_or(usize::MAX))
    };

    let requests = match args.requests_per_key {
        Some(number) => Some(number),
        None => number("DEVBOX_REQUESTS_PER_KEY", section.requests_per_key)?,
    };
    let rate_of_bytes = match args.bytes_per_key {
        Some(bytes) => Some(bytes),
        None => bytes("DEVBOX_BYTES_PER_KEY", &section.bytes_per_key)?,
    };
    let request_burst = number("DEVBOX_REQUEST_BURST", section.request_burst)?;
    let byte_burst = bytes("DEVBOX_BYTE_BURST", &section.byte_burst)?;

    let (limits, timeouts) = (Limits::default(), Timeouts::default());
    let transfers = number("DEVBOX_TRANSFERS_PER_KEY", section.transfers_per_key)?;
    let open_requests = number("DEVBOX_OPEN_REQUESTS_PER_KEY", section.open_requests_per_key)?;
    let client = seconds("DEVBOX_CLIENT_PATIENCE", section.client_patience, timeouts.body_pause)?;
    let agent = seconds("DEVBOX_AGENT_PATIENCE", section.agent_patience, timeouts.agent_answer)?;
    let limits = Limits {
        requests_per_key: rate(requests, request_burst),
        bytes_per_key: rate(rate_of_bytes, byte_burst),
        max_transfers_per_key: count(transfers, limits.max_transfers_per_key),
        max_requests_per_key: count(open_requests, limits.max_requests_per_key),
        ..limits
    };
    let timeouts =
        Timeouts { head: client, body_pause: client, answer_pause: client, agent_answer: agent, ..timeouts };
    Ok((limits, timeouts))
}

fn rate(per_second: Option<NonZeroU64>, burst: Option<NonZeroU64>) -> Option<Rate> {
    let rate = Rate::per_second(per_second?);
    Some(burst.map_or(rate, |burst| rate.with_burst(burst)))
}

fn whole_number(name: &str, value: String) -> Result<NonZeroU64, SettingsError> {
    let wanted = "a whole number from 1 on";
    value.parse().map_err(|_| SettingsError::BadValue { name: name.to_owned(), value, wanted })
}

fn size(name: &str, value: String) -> Result<NonZeroU64, SettingsError> {
    let wanted = "a size such as 512MiB, 2GiB or 1500000";
    parse::some_size(&value).map_err(|_| SettingsError::BadValue { name: name.to_owned(), value, wanted })
}
