//! What `--help` says.

use crate::devbox;

const COMMANDS: [&[&str]; 22] = [
    &[],
    &["serve"],
    &["create"],
    &["ls"],
    &["inspect"],
    &["start"],
    &["stop"],
    &["rm"],
    &["exec"],
    &["cp"],
    &["cat"],
    &["put"],
    &["truncate"],
    &["meta"],
    &["pack"],
    &["unpack"],
    &["templates"],
    &["key"],
    &["key", "create"],
    &["key", "ls"],
    &["key", "rm"],
    &["version"],
];

#[test]
fn every_command_explains_itself() {
    for command in COMMANDS {
        let (code, help, complaint) = devbox(&[command, &["--help"]].concat(), &[("COLUMNS", "100")]);
        assert_eq!((code, complaint.as_str()), (Some(0), ""), "{command:?}");
        insta::assert_snapshot!(format!("help_{}", [&["devbox"], command].concat().join("_")), help);
    }
}

#[test]
fn what_is_not_for_people_is_not_shown() {
    let (_, help, _) = devbox(&["--help"], &[]);
    assert!(!help.contains("spawner") && !help.contains("openapi"), "{help}");
}

#[test]
fn no_command_is_a_mistake_that_shows_the_help() {
    let (code, output, complaint) = devbox(&[], &[]);
    assert_eq!((code, output.as_str()), (Some(64), ""));
    assert!(complaint.contains("Usage: devbox"), "{complaint}");
}
