//! The suite that every guest passes.

use std::sync::Arc;

use devbox_agent::serve::serve_connections;
use devbox_guest::client::GuestClient;
use devbox_guest::conformance::{self, Facts};
use devbox_guest::transport::UnixTransport;
use devbox_types::BoxPath;

use crate::support::{Agent, local_guest};

fn ground() -> BoxPath {
    BoxPath::parse(b"/workspace").expect("a path")
}

#[tokio::test]
async fn the_local_guest_keeps_the_contract() {
    let (_folder, guest) = local_guest();
    conformance::all(Arc::new(guest), ground(), Facts::default()).await;
}

#[tokio::test]
async fn the_contract_is_kept_through_http_1_on_a_unix_socket() {
    let (_folder, guest) = local_guest();
    let sockets = tempfile::tempdir().expect("a folder");
    let path = sockets.path().join("agent.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
    let router = devbox_router::agent_router(Arc::new(guest));
    let server = tokio::spawn(serve_connections(listener, router, std::future::pending()));
    let client = GuestClient::to_agent(Arc::new(UnixTransport::new(path)));
    conformance::all(Arc::new(client), ground(), Facts::default()).await;
    server.abort();
}

#[tokio::test]
async fn the_contract_is_kept_by_the_binary_through_http_2_on_its_standard_streams() {
    let agent = Agent::start();
    let ground =
        BoxPath::parse(b"/tmp").and_then(|folder| folder.join(b"devbox-conformance")).expect("a path");
    conformance::all(agent.guest(), ground, Facts::default()).await;
    agent.shell("rm -rf /tmp/devbox-conformance").await;
    assert!(agent.end().await.success());
}
