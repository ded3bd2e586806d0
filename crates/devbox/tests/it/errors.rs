//! What is said when something is wrong, before any server is spoken to.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use crate::{devbox, devbox_in};

const KEY: (&str, &str) = ("DEVBOX_API_KEY", "dvb_test");

/// The exit code and the complaint, with nothing on standard output.
fn complaint(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let (code, output, complaint) = devbox(arguments, variables);
    assert_eq!(output, "", "an error went to standard output");
    format!("exit code {}\n{complaint}", code.expect("it was not killed"))
}

#[test]
fn a_missing_key_says_where_one_is() {
    insta::assert_snapshot!(complaint(&["ls"], &[]));
}

#[test]
fn nobody_listening_says_how_to_start_a_server() {
    // A port that is bound but was closed again is free for nobody else within this test.
    let address = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = format!("http://{address}");
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"127\.0\.0\.1:\d+", "[address]");
    settings.bind(|| insta::assert_snapshot!(complaint(&["ls", "--url", &url], &[KEY])));
}

#[test]
fn a_bad_address_is_named() {
    insta::assert_snapshot!(complaint(&["ls", "--url", "localhost:8080"], &[KEY]));
}

#[test]
fn a_copy_needs_a_box() {
    insta::assert_snapshot!(complaint(&["cp", "a", "b"], &[KEY]));
}

#[test]
fn a_copy_between_boxes_is_refused() {
    insta::assert_snapshot!(complaint(&["cp", "one:a", "two:b"], &[KEY]));
}

#[test]
fn cat_needs_a_box() {
    insta::assert_snapshot!(complaint(&["cat", ":/a"], &[KEY]));
}

#[test]
fn a_bad_value_says_what_a_good_one_is() {
    insta::assert_snapshot!(complaint(&["create", "--memory", "lots"], &[KEY]));
}

#[test]
fn an_unknown_command_is_a_usage_error() {
    insta::assert_snapshot!(complaint(&["crate"], &[KEY]));
}

#[test]
fn a_config_file_that_is_named_has_to_be_there() {
    insta::assert_snapshot!(complaint(&["ls", "--config", "missing.toml"], &[KEY]));
}

#[test]
fn a_mistyped_setting_is_shown_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("devbox.toml"), "[client]\nurll = 'http://localhost'\n").expect("a file");
    let output = devbox_in(folder.path(), &["ls"], &[KEY]);
    insta::assert_snapshot!(String::from_utf8(output.stderr).expect("text"));
}

#[test]
fn attack_folder_that_redirects_the_key() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("devbox.toml"), "client.url = 'http://127.0.0.1:1'\n").expect("a file");
    let refused = devbox_in(folder.path(), &["ls"], &[KEY]);
    assert_eq!(refused.status.code(), Some(77));
    insta::assert_snapshot!(String::from_utf8(refused.stderr).expect("text"));

    // What says that the person means it is taken at its word, and then nobody listens there.
    let meant = devbox_in(folder.path(), &["ls"], &[KEY, ("DEVBOX_CONFIG", "devbox.toml")]);
    assert_eq!(meant.status.code(), Some(75));
}

#[test]
fn a_config_file_that_anybody_may_write_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("devbox.toml");
    fs::write(&path, "").expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("a mode");
    let output = devbox_in(folder.path(), &["ls"], &[KEY]);
    insta::assert_snapshot!(String::from_utf8(output.stderr).expect("text"));
}

#[test]
fn serve_wants_both_halves_of_tls() {
    insta::assert_snapshot!(complaint(&["serve", "--tls-cert", "cert.pem"], &[]));
}

#[test]
fn serve_names_the_pools_that_there_are() {
    insta::assert_snapshot!(complaint(&["serve", "--pool", "zfs"], &[]));
}
