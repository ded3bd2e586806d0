//! Which files, when they change, make the agent another one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Reads the dependency file that cargo leaves beside a program (`program: source source …`), and adds the manifests
/// that decide over those sources.
pub(crate) fn watched(listing: &str, workspace: &Path) -> BTreeSet<PathBuf> {
    let sources =
        listing.lines().filter_map(|line| line.split_once(": ")).flat_map(|(_, files)| split(files));
    let mut watched: BTreeSet<PathBuf> = sources.collect();
    let manifests: Vec<PathBuf> = watched.iter().filter_map(|source| manifest_of(source)).collect();
    watched.extend(manifests);
    watched.extend([workspace.join("Cargo.toml"), workspace.join("Cargo.lock")]);
    watched
}

/// Splits at spaces that no backslash precedes.
fn split(files: &str) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let mut path = String::new();
    let mut characters = files.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => path.extend(characters.next()),
            ' ' => paths.push(std::mem::take(&mut path)),
            _ => path.push(character),
        }
    }
    paths.push(path);
    paths.into_iter().filter(|path| !path.is_empty()).map(PathBuf::from).collect()
}

fn manifest_of(source: &Path) -> Option<PathBuf> {
    source.ancestors().skip(1).map(|folder| folder.join("Cargo.toml")).find(|manifest| manifest.is_file())
}
