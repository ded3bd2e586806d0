//! The client over TLS.

use std::path::Path;
use std::sync::Arc;

use devbox_client::{Client, ClientConfig, ClientError, RetryPolicy};
use devbox_types::Coded as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::script::{Requests, answer_one, json};

/// Serves one `healthz` under a certificate for `localhost`, and writes that certificate to `ca_file`.
async fn serve(ca_file: &Path) -> u16 {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(ca_file, made.cert.pem()).expect("a file");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
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
