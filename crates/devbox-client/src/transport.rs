//! TCP and TLS byte streams to a server.

mod tcp;
mod tls;

pub use tcp::TcpTransport;
pub use tls::TlsTransport;
