//! Why a server could not start or go on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use devbox_backend::BackendError;
use devbox_store::StoreError;
use devbox_types::{Coded, ErrorCode};

/// Why a server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is reached by other machines, and nothing protects the keys on their way.
    #[error("{address} is reached by other machines, and TLS is not configured")]
    PlaintextRefused {
        /// The address.
        address: SocketAddr,
    },
    /// A PEM file could not be read.
    #[error("cannot read {what} from {path:?}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// In which file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// A PEM file has no certificate in it.
    #[error("there is no certificate in {path:?}")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not go together.
    #[error("the certificate and its key cannot be used")]
    Tls {
        /// What rustls says.
        source: rustls::Error,
    },
    /// The listener failed.
    #[error("cannot {step}")]
    Listener {
        /// What was being done.
        step: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// Records and boxes could not be compared at the start.
    #[error("cannot bring records and boxes together")]
    Backend {
        /// What the backend says.
        source: BackendError,
    },
    /// The store failed.
    #[error("the store failed")]
    Store {
        /// How.
        source: StoreError,
    },
    /// The system gave no random bytes.
    #[error("cannot read random bytes")]
    Random {
        /// What the system says.
        source: getrandom::Error,
    },
}

impl Coded for ServerError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::PlaintextRefused { .. }
            | Self::Pem { .. }
            | Self::NoCertificate { .. }
            | Self::Tls { .. } => ErrorCode::InvalidRequest,
            Self::Listener { .. } | Self::Random { .. } => ErrorCode::Internal,
            Self::Backend { source } => source.code(),
            Self::Store { source } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::PlaintextRefused { .. } => Some(
                "give --tls-cert and --tls-key, or --allow-plaintext where something else protects the connection"
                    .to_owned(),
            ),
            Self::Pem { .. } | Self::NoCertificate { .. } | Self::Tls { .. } => {
                Some("give a PEM certificate chain, and the private key of its first certificate".to_owned())
            }
            Self::Listener { .. } | Self::Random { .. } => None,
            Self::Backend { source } => source.hint(),
            Self::Store { source } => source.hint(),
        }
    }
}
