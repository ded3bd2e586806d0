//! The golden picture of who depends on whom within the workspace: `docs/crate-graph.txt`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command::{cargo, output};
use crate::generate::compare;

/// Where the golden picture is.
pub(crate) const FILE: &str = "docs/crate-graph.txt";

/// Compares it with the workspace as it is.
pub(crate) fn check() -> Result<()> {
    compare(FILE, &render()?)
}

/// Draws the picture: one line a crate, with what it uses; dependencies of tests alone are left out.
pub(crate) fn render() -> Result<String> {
    let metadata = output(cargo().args(["metadata", "--format-version=1", "--no-deps", "--locked"]))?;
    let metadata: Value = serde_json::from_slice(&metadata).context("cannot read cargo's metadata")?;
    let mut picture = String::from(
        "# Which crate of the workspace uses which, tests left out. Written by `cargo xtask gen`; a change here is a\n\
         # change of the architecture and wants a reason in its commit.\n",
    );
    for (name, used) in edges(&metadata) {
        let used: Vec<String> = used.into_iter().collect();
        picture += format!("{name} -> {}", used.join(" ")).trim_end();
        picture.push('\n');
    }
    Ok(picture)
}

fn edges(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let packages: Vec<&Value> = metadata["packages"].as_array().into_iter().flatten().collect();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(|package| name(package)).collect();
    let used = |package: &Value| -> BTreeSet<String> {
        let all = package["dependencies"].as_array().into_iter().flatten();
        all.filter(|dependency| dependency["kind"] != "dev")
            .map(name)
            .filter(|used| ours.contains(used))
            .collect()
    };
    packages.iter().map(|package| (name(package), used(package))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_crates_are_drawn_and_only_what_is_shipped() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "b", "dependencies": [{ "name": "a", "kind": null }, { "name": "serde", "kind": null }] },
            { "name": "a", "dependencies": [{ "name": "b", "kind": "dev" }] },
        ]});
        let edges = edges(&metadata);
        assert_eq!(edges["b"], BTreeSet::from(["a".to_owned()]));
        assert!(edges["a"].is_empty());
    }
}
