//! TLS over TCP.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use devbox_guest::{Connection, Protocol, Transport};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig as TlsConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::TcpTransport;
use crate::error::ClientError;

/// TLS 1.2 or 1.3 to one host and port, with the host's certificate checked against its name.
#[derive(Clone)]
pub struct TlsTransport {
    tcp: TcpTransport,
    name: ServerName<'static>,
    connector: TlsConnector,
    timeout: Duration,
}

impl TlsTransport {
    /// Connections to `host` and `port`, each within `timeout`. Trusted are the certificates of `ca_file`, or, without
    /// one, those of the system.
    ///
    /// # Errors
    /// `CaFile`, `NoTrustedCertificates`, `Tls`, or `BadUrl` if `host` can have no certificate.
    pub fn new(
        host: &str,
        port: u16,
        timeout: Duration,
        ca_file: Option<&Path>,
    ) -> Result<Self, ClientError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| ClientError::BadUrl {
            url: host.to_owned(),
            source: crate::endpoint::EndpointError::NoHost,
        })?;
        let roots = match ca_file {
            Some(path) => roots_of_file(path)?,
            None => roots_of_system()?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = TlsConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| ClientError::Tls { source })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { tcp: TcpTransport::new(host, port, timeout), name, connector, timeout })
    }
}

#[async_trait]
impl Transport for TlsTransport {
    async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        let stream = self.tcp.open().await?;
        let handshake = self.connector.connect(self.name.clone(), stream);
        let secured =
            tokio::time::timeout(self.timeout, handshake).await.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(Box::new(secured))
    }

    fn protocol(&self) -> Protocol {
        Protocol::Http1Pool
    }
}

impl std::fmt::Debug for TlsTransport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TlsTransport").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

fn roots_of_file(path: &Path) -> Result<RootCertStore, ClientError> {
    let failed = |source| ClientError::CaFile { path: path.to_owned(), source };
    let pem = std::fs::read(path).map_err(failed)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate =
            certificate.map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        roots.add(certificate).map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    }
    if roots.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "it holds no PEM certificate")));
    }
    Ok(roots)
}

/// Certificates that cannot be read are skipped, as every other program on the system does; none at all is an error.
fn roots_of_system() -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(ClientError::NoTrustedCertificates) } else { Ok(roots) }
}
