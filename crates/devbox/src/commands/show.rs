//! `devbox ls`, `inspect`, `templates`.

use devbox_client::ListQuery;
use devbox_types::devbox::{BoxState, BoxStatus, Devbox};
use serde::Serialize;

use super::connect;
use crate::cli::{InspectArgs, LsArgs, TemplatesArgs};
use crate::output::{self, harmless};

pub(super) async fn ls(args: LsArgs) -> anyhow::Result<()> {
    let client = connect(&args.connection)?;
    let query = ListQuery { labels: args.label.into_iter().collect(), ..ListQuery::default() };
    let devboxes = client.list_all(query).await?;
    if args.json {
        return output::json(&devboxes);
    }
    if args.quiet {
        let ids: String = devboxes.iter().map(|devbox| format!("{}\n", devbox.id)).collect();
        return output::bytes(ids.as_bytes());
    }
    output::table(
        ["ID", "NAME", "STATE", "TEMPLATE", "CREATED"],
        &devboxes.iter().map(row).collect::<Vec<_>>(),
    )
}

pub(super) async fn inspect(args: InspectArgs) -> anyhow::Result<()> {
    let client = connect(&args.connection)?;
    let devbox = client.get(&args.reference).await?;
    if args.json { output::json(&devbox) } else { output::bytes(details(&devbox).as_bytes()) }
}

pub(super) async fn templates(args: TemplatesArgs) -> anyhow::Result<()> {
    let client = connect(&args.connection)?;
    let templates = client.templates().await?;
    if args.json {
        return output::json(&templates);
    }
    let row = |template: &devbox_types::devbox::Template| {
        [harmless(&template.name), harmless(&template.workdir), harmless(&template.runtimes.join(" "))]
    };
    output::table(["NAME", "WORKDIR", "RUNTIMES"], &templates.iter().map(row).collect::<Vec<_>>())
}

fn row(devbox: &Devbox) -> [String; 5] {
    [
        devbox.id.to_string(),
        harmless(devbox.name.as_deref().unwrap_or("-")),
        state(&devbox.status),
        harmless(&devbox.template),
        seconds(devbox),
    ]
}

fn details(devbox: &Devbox) -> String {
    let resources = &devbox.resources;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let labels: Vec<String> = devbox.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let promises: Vec<String> = devbox.promises.iter().map(word).collect();
    let list = |items: Vec<String>| or_dash(Some(items.join(" ")).filter(|text| !text.is_empty()));
    let rows = [
        ("id", devbox.id.to_string()),
        ("name", or_dash(devbox.name.clone())),
        ("state", state(&devbox.status)),
        ("template", devbox.template.clone()),
        ("runtime", or_dash(devbox.runtime.clone())),
        ("workdir", devbox.workdir.clone()),
        ("cpu", or_dash(resources.cpu_millis.map(|millis| format!("{}", f64::from(millis) / 1000.0)))),
        ("memory", or_dash(resources.memory_bytes.map(size))),
        ("pids", or_dash(resources.pids.map(|pids| pids.to_string()))),
        ("labels", list(labels)),
        ("created", devbox.created.to_string()),
        ("promises", list(promises)),
    ];
    rows.map(|(name, value)| format!("{name:<9} {}\n", harmless(&value))).concat()
}

fn state(status: &BoxStatus) -> String {
    let state = match status.state {
        BoxState::Starting => "starting",
        BoxState::Running => "running",
        BoxState::Stopped => "stopped",
        BoxState::Failed => "failed",
    };
    match &status.reason {
        Some(reason) => format!("{state} ({})", harmless(reason)),
        None => state.to_owned(),
    }
}

/// The time without its fraction: nobody reads nanoseconds in a table.
fn seconds(devbox: &Devbox) -> String {
    let time = devbox.created.to_string();
    time.split_once('.').map_or(time.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// The largest unit in which the size is whole.
fn size(bytes: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

/// A value as its word on the wire.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use devbox_types::agent::Promise;
    use devbox_types::devbox::Resources;
    use devbox_types::{BoxId, Timestamp};

    use super::*;

    fn devbox() -> Devbox {
        Devbox {
            id: BoxId::from_random([7; 10]),
            name: Some("try-1".to_owned()),
            status: BoxStatus { state: BoxState::Failed, reason: Some("agent_killed".to_owned()) },
            template: "host".to_owned(),
            runtime: Some("host (python 3.11.2)".to_owned()),
            workdir: "/workspace".to_owned(),
            labels: BTreeMap::from([("team".to_owned(), "red\u{1b}[2J".to_owned())]),
            resources: Resources { cpu_millis: Some(1500), memory_bytes: Some(2 << 30), pids: None },
            created: Timestamp::from_parts(0, 5),
            promises: vec![Promise::AtomicReplace, Promise::Confinement],
        }
    }

    #[test]
    fn a_box_is_shown_line_by_line() {
        insta::assert_snapshot!(details(&devbox()));
    }

    #[test]
    fn a_row_is_short() {
        insta::assert_snapshot!(row(&devbox()).join(" | "));
    }

    #[test]
    fn sizes_are_shown_in_whole_units() {
        assert_eq!([size(3 << 29), size(1 << 40), size(1000)], ["1536 MiB", "1 TiB", "1000 B"]);
    }
}
