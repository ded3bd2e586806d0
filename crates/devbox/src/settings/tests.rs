use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU64;
use std::time::Duration;

use devbox_server::Rate;

use super::*;

struct Variables(BTreeMap<&'static str, OsString>);

impl Environment for Variables {
    fn variable(&self, name: &'static str) -> Option<OsString> {
        self.0.get(name).cloned()
    }
}

/// An environment whose `DEVBOX_CONFIG` is a file of this text.
fn environment(text: &str, variables: &[(&'static str, &str)]) -> (tempfile::TempDir, Variables) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("devbox.toml");
    fs::write(&path, text).expect("a file");
    let mut all: BTreeMap<_, _> =
        variables.iter().map(|(name, value)| (*name, OsString::from(value))).collect();
    all.insert("DEVBOX_CONFIG", path.into());
    (folder, Variables(all))
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let file = "client.url = 'http://file'\nclient.api_key = 'file-key'";
    let flags = ConnectionArgs { url: Some("http://flag".to_owned()), ..ConnectionArgs::default() };
    let none = ConnectionArgs::default();

    let (_folder, both) = environment(file, &[("DEVBOX_URL", "http://env"), ("DEVBOX_API_KEY", "env-key")]);
    assert_eq!(client(&flags, &both).expect("settings").url, "http://flag");
    assert_eq!(client(&none, &both).expect("settings").url, "http://env");
    assert_eq!(client(&none, &both).expect("settings").api_key.as_deref(), Some("env-key"));

    let (_folder, only_file) = environment(file, &[]);
    assert_eq!(client(&none, &only_file).expect("settings").url, "http://file");
    assert_eq!(client(&none, &only_file).expect("settings").api_key.as_deref(), Some("file-key"));

    let (_folder, nothing) = environment("", &[]);
    let defaults = client(&none, &nothing).expect("settings");
    assert_eq!((defaults.url.as_str(), defaults.api_key), (ClientConfig::DEFAULT_URL, None));
}

#[test]
fn serve_settings_come_from_the_same_four_places() {
    let file = "[serve]\nlisten = '127.0.0.1:1'\ndata_dir = 'data'\npool = 'plain'\nmax_transfer = '1MiB'\nallow_plaintext = true";
    let (folder, variables) = environment(file, &[("DEVBOX_LISTEN", "127.0.0.1:2")]);
    let none = ServeArgs::default();

    let settings = serve(&none, &variables).expect("settings");
    assert_eq!(settings.listen.port(), 2);
    assert_eq!(
        settings.data_dir,
        folder.path().join("data"),
        "relative to the file, not to where one stands"
    );
    assert_eq!(settings.pool, PoolChoice::Plain);
    assert_eq!(settings.max_transfer, Some(1 << 20));
    assert!(settings.allow_plaintext);

    let flag = ServeArgs { listen: Some("localhost:3".to_owned()), ..ServeArgs::default() };
    assert_eq!(
        serve(&flag, &variables).expect("settings").listen,
        "127.0.0.1:3".parse().expect("an address")
    );

    let (_folder, nothing) = environment("", &[]);
    let defaults = serve(&none, &nothing).expect("settings");
    assert_eq!(defaults.listen.to_string(), DEFAULT_LISTEN);
    assert_eq!(defaults.data_dir.to_str(), Some(DEFAULT_DATA_DIR));
    assert!(!defaults.allow_plaintext);
}

#[test]
fn the_environment_can_take_back_what_the_file_allows() {
    let (_folder, variables) =
        environment("serve.allow_plaintext = true", &[("DEVBOX_ALLOW_PLAINTEXT", "false")]);
    assert!(!serve(&ServeArgs::default(), &variables).expect("settings").allow_plaintext);
}

#[test]
fn a_key_file_is_read_and_trimmed() {
    let (folder, variables) = environment("client.api_key_file = 'first.key'", &[]);
    let path = folder.path().join("first.key");
    fs::write(&path, "dbx_secret\n").expect("a file");
    let config = client(&ConnectionArgs::default(), &variables).expect("settings");
    assert_eq!(config.api_key.as_deref(), Some("dbx_secret"));

    fs::write(&path, "\n").expect("a file");
    let error = client(&ConnectionArgs::default(), &variables).expect_err("no key");
    assert!(matches!(error, SettingsError::NoKeyInFile { .. }), "{error}");
}

#[test]
fn a_mistyped_setting_is_not_ignored() {
    let (_folder, variables) = environment("[serve]\nlisen = 'x'", &[]);
    let error = serve(&ServeArgs::default(), &variables).expect_err("a typo");
    assert!(matches!(error, SettingsError::Malformed { .. }), "{error}");
}

#[test]
fn a_file_that_others_may_write_is_not_trusted() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, variables) = environment("", &[]);
    let path = folder.path().join("devbox.toml");
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("a mode");
    let error = client(&ConnectionArgs::default(), &variables).expect_err("untrusted");
    assert!(matches!(error, SettingsError::Untrusted { .. }), "{error}");
}

#[test]
fn addresses_to_listen_on_are_numbers() {
    for text in ["127.0.0.1:8080", "[::1]:8080", ":8080", "localhost:8080", "0.0.0.0:0"] {
        assert!(address(text).is_ok(), "{text}");
    }
    for text in ["", "8080", "example.com:80", "127.0.0.1", "127.0.0.1:99999", "localhost"] {
        assert!(address(text).is_err(), "{text}");
    }
}

#[test]
fn half_of_tls_is_refused() {
    let args = ServeArgs { tls_cert: Some("cert.pem".into()), ..ServeArgs::default() };
    let (_folder, variables) = environment("", &[]);
    let error = serve(&args, &variables).expect_err("no key");
    assert!(matches!(error, SettingsError::HalfOfTls { missing: "--tls-key", .. }), "{error}");
}

fn number(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).expect("not zero")
}

#[test]
fn limits_come_from_flags_environment_and_file() {
    let file =
        "[serve]\nrequests_per_key = 5\nbyte_burst = '1MiB'\nbytes_per_key = '2MiB'\nclient_patience = 7";
    let (_folder, variables) = environment(
        file,
        &[("DEVBOX_REQUESTS_PER_KEY", "10"), ("DEVBOX_REQUEST_BURST", "99"), ("DEVBOX_AGENT_PATIENCE", "9")],
    );
    let settings = serve(&ServeArgs::default(), &variables).expect("settings");
    let requests = Rate::per_second(number(10)).with_burst(number(99));
    let bytes = Rate::per_second(number(2 << 20)).with_burst(number(1 << 20));
    assert_eq!(settings.limits.requests_per_key, Some(requests));
    assert_eq!(settings.limits.bytes_per_key, Some(bytes));
    assert_eq!(settings.limits.max_transfers_per_key, Limits::default().max_transfers_per_key);
    let timeouts = settings.timeouts;
    assert_eq!([timeouts.head, timeouts.body_pause, timeouts.answer_pause], [Duration::from_secs(7); 3]);
    assert_eq!(timeouts.agent_answer, Duration::from_secs(9));

    let flags = ServeArgs { requests_per_key: Some(number(20)), ..ServeArgs::default() };
    let flagged = serve(&flags, &variables).expect("settings").limits.requests_per_key;
    assert_eq!(flagged, Some(Rate::per_second(number(20)).with_burst(number(99))));

    let (_folder, nothing) = environment("", &[]);
    let defaults = serve(&ServeArgs::default(), &nothing).expect("settings");
    assert_eq!((defaults.limits, defaults.timeouts), (Limits::default(), Timeouts::default()));
}

#[test]
fn a_limit_of_nothing_is_refused() {
    for (name, value) in
        [("DEVBOX_REQUESTS_PER_KEY", "0"), ("DEVBOX_BYTES_PER_KEY", "fast"), ("DEVBOX_CLIENT_PATIENCE", "1s")]
    {
        let (_folder, variables) = environment("", &[(name, value)]);
        let error = serve(&ServeArgs::default(), &variables).expect_err("no limit");
        assert!(
            matches!(error, SettingsError::BadValue { .. }) && error.to_string().contains(name),
            "{error}"
        );
    }
    let (_folder, variables) = environment("serve.requests_per_key = 0", &[]);
    assert!(matches!(serve(&ServeArgs::default(), &variables), Err(SettingsError::Malformed { .. })));
}
