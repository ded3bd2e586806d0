//! TLS from PEM files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::error::ServerError;

/// Files with a certificate chain and its private key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// A certificate and its key, read and found to go together.
///
/// It is loaded apart from serving, because a private key is often readable by root only, and the server gives root up.
#[derive(Clone)]
pub struct TlsIdentity {
    config: Arc<rustls::ServerConfig>,
}

impl TlsIdentity {
    /// Reads certificate and key; HTTP/2 and HTTP/1.1 will be offered over TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// `Pem`, `NoCertificate`, `Tls`.
    pub fn load(files: &TlsFiles) -> Result<Self, ServerError> {
        let pem = |what, path: &Path| {
            let path = path.to_owned();
            move |source| ServerError::Pem { what, path, source }
        };
        let chain = CertificateDer::pem_file_iter(&files.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(pem("a certificate", &files.certificate))?;
        if chain.is_empty() {
            return Err(ServerError::NoCertificate { path: files.certificate.clone() });
        }
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(pem("a private key", &files.key))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|source| ServerError::Tls { source })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config) })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}
