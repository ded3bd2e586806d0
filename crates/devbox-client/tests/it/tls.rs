//! The client over TLS.

use std::path::Path;
use std::sync::Arc;

use devbox_client::{Client, ClientConfig, ClientError, RetryPolicy};
use devbox_types::Coded as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::script::{Requests, answer_one, json};

/// Serves one `healthz` under a certificate for `localhost`, and writes that certificate to `ca_file`.
async fn serve(ca_file: &Path) -> u16 {
    serve_as(rcgen::CertificateParams::new(["localhost".to_owned()]).expect("parameters"), ca_file).await
}

async fn serve_as(parameters: rcgen::CertificateParams, ca_file: &Path) -> u16 {
    let signing_key = rcgen::KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&signing_key).expect("a certificate");
    std::fs::write(ca_file, certificate.pem()).expect("a file");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .expect("a configuration");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            // A client that does not trust us ends the handshake.
            if let Ok(stream) = acceptor.accept(stream).await {
                answer_one(stream, &json("200 OK", "", "{}"), &Requests::default()).await;
            }
        }
    });
    port
}

fn client(host: &str, port: u16, ca_file: Option<&Path>) -> Client {
    let config = ClientConfig {
        ca_file: ca_file.map(Path::to_owned),
        retry: RetryPolicy::never(),
        ..ClientConfig::new(format!("https://{host}:{port}"), None)
    };
    Client::connect(config).expect("a client")
}

#[tokio::test]
async fn a_certificate_that_is_trusted_is_accepted_for_its_own_name_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = folder.path().join("ca.pem");
    let port = serve(&ca_file).await;
    client("localhost", port, Some(&ca_file)).health().await.expect("a healthy server");

    let error = client("127.0.0.1", port, Some(&ca_file)).health().await.expect_err("another name");
    assert!(matches!(error, ClientError::Connect { .. }), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("a name that")), "{error:?}");
}

#[tokio::test]
async fn an_authoritys_certificate_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = folder.path().join("ca.pem");
    let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("parameters");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let port = serve_as(parameters, &ca_file).await;
    let error = client("localhost", port, Some(&ca_file)).health().await.expect_err("an authority");
    assert!(error.hint().is_some_and(|hint| hint.contains("CA:FALSE")), "{error:?}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_with_a_hint() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("an answer");
        // Until the client is gone: an early end could look like a broken line.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = folder.path().join("ca.pem");
    serve(&ca_file).await;
    let error = client("127.0.0.1", port, Some(&ca_file)).health().await.expect_err("no TLS");
    assert!(error.hint().is_some_and(|hint| hint.contains("http://")), "{error:?}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, other) = (folder.path().join("own.pem"), folder.path().join("other.pem"));
    let port = serve(&own).await;
    serve(&other).await;
    let error = client("localhost", port, Some(&other)).health().await.expect_err("a stranger");
    assert!(error.hint().is_some_and(|hint| hint.contains("DEVBOX_CA_FILE")), "{error:?}");
}

#[test]
fn a_file_without_certificates_is_refused_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("empty.pem");
    std::fs::write(&path, "nothing").expect("a file");
    let config = ClientConfig { ca_file: Some(path), ..ClientConfig::new("https://localhost", None) };
    assert!(matches!(Client::connect(config), Err(ClientError::CaFile { .. })));
}
