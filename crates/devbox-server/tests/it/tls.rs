//! TLS, and where there must be some.

use std::path::Path;
use std::sync::Arc;

use devbox_backend::Backend;
use devbox_server::{Server, ServerConfig, ServerError, TlsFiles, TlsIdentity};
use devbox_store::Store;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::house::{House, memory_backend};
use crate::wire::call_over;

/// A certificate for `localhost` and its key, in this directory.
fn certify(directory: &Path) -> (TlsFiles, rustls::pki_types::CertificateDer<'static>) {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let files = TlsFiles { certificate: directory.join("cert.pem"), key: directory.join("key.pem") };
    std::fs::write(&files.certificate, issued.cert.pem()).expect("cert.pem");
    std::fs::write(&files.key, issued.signing_key.serialize_pem()).expect("key.pem");
    (files, issued.cert.der().clone())
}

fn serving(files: &TlsFiles) -> ServerConfig {
    let identity = TlsIdentity::load(files).expect("an identity");
    ServerConfig { tls: Some(identity), ..ServerConfig::default() }
}

#[tokio::test]
async fn requests_go_over_tls() {
    let directory = tempfile::tempdir().expect("a directory");
    let (files, certificate) = certify(directory.path());
    let house = House::with(serving(&files)).await;

    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TcpStream::connect(house.address).await.expect("a connection");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake");
    let bearer = format!("Bearer {}", house.key);
    let headers = [("authorization", bearer.as_str())];
    let answer = call_over(stream, "GET", "/v1/devboxes", &headers, Vec::new()).await;
    assert_eq!(answer.status, 200);
}

async fn try_to_serve(config: ServerConfig, address: &str) -> Result<(), ServerError> {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("a store");
    let server = Server::new(config, memory_backend() as Arc<dyn Backend>, store).await?;
    let listener = TcpListener::bind(address).await.expect("a port");
    server.serve(listener, async {}).await
}

#[tokio::test]
async fn plaintext_is_refused_where_others_can_reach_it() {
    let refused = try_to_serve(ServerConfig::default(), "0.0.0.0:0").await;
    assert!(matches!(refused, Err(ServerError::PlaintextRefused { .. })), "{refused:?}");
    let directory = tempfile::tempdir().expect("a directory");
    try_to_serve(serving(&certify(directory.path()).0), "0.0.0.0:0").await.expect("served, and stopped");
    let allowed = ServerConfig { allow_plaintext: true, ..ServerConfig::default() };
    try_to_serve(allowed, "0.0.0.0:0").await.expect("served, and stopped");
}

#[test]
fn certificates_that_are_none_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (files, _) = certify(directory.path());
    let (other, _) = certify(tempfile::tempdir().expect("a directory").path());
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").expect("empty.pem");
    for tls in [
        TlsFiles { certificate: empty.clone(), key: files.key.clone() },
        TlsFiles { certificate: files.certificate.clone(), key: empty },
        TlsFiles { certificate: files.key.clone(), key: files.certificate.clone() },
        other,
    ] {
        assert!(TlsIdentity::load(&tls).is_err(), "{tls:?}");
    }
}
