//! How the binary starts and ends.

use std::os::unix::net::UnixListener;
use std::process::{Command, Output};

use devbox_types::agent::AgentConfig;

use crate::support::{AGENT, Agent};

fn start_with(config: Option<&str>) -> Output {
    let mut command = Command::new(AGENT);
    command.env_remove(AgentConfig::VARIABLE);
    if let Some(config) = config {
        command.env(AgentConfig::VARIABLE, config);
    }
    command.output().expect("the agent runs")
}

#[test]
fn without_a_sound_configuration_it_says_so_and_ends() {
    let cases = [
        (None, "DEVBOX_AGENT_CONFIG is not set"),
        (Some("{"), "is not a configuration"),
        (Some("{}"), "is not a configuration"),
        (
            Some(r#"{"listen":"stdio","default_user":"","workdir":"/a/../b"}"#),
            "the working directory is not a path",
        ),
        (
            Some(r#"{"listen":"stdio","default_user":"","workdir":"/","payload_cgroups":[77]}"#),
            "descriptor 77 is not open",
        ),
    ];
    for (config, complaint) in cases {
        let output = start_with(config);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(complaint), "{said}");
    }
}

#[tokio::test]
async fn programs_see_the_variables_of_the_box_and_not_the_configuration() {
    let agent = Agent::start();
    let said = agent.shell("echo \"$GREETING\"; env").await;
    assert!(said.starts_with("hello\n"), "{said}");
    assert!(!said.contains(AgentConfig::VARIABLE), "{said}");
    for variable in ["PATH=", "HOME=", "USER=", "LANG="] {
        assert!(said.contains(variable), "{said}");
    }
}

#[tokio::test]
async fn it_ends_with_its_standard_input_and_leaves_no_program() {
    let agent = Agent::start();
    agent.shell("echo ready").await;
    assert!(agent.end().await.success());
}

#[test]
fn a_socket_that_somebody_serves_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("agent.sock");
    let _listener = UnixListener::bind(&path).expect("a socket");
    let config = format!(r#"{{"listen":{{"unix":"{}"}},"default_user":"","workdir":"/"}}"#, path.display());
    let output = start_with(Some(&config));
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot listen on the socket"));
}
