//! The address of a server, parsed once.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// Why a text is not the address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is no URL at all.
    #[error("it is not a URL")]
    NotUrl,
    /// It says neither `http` nor `https`.
    #[error("it must begin with `http://` or `https://`")]
    Scheme,
    /// It names no host.
    #[error("it names no host")]
    NoHost,
    /// It carries a user name or a password.
    #[error("a user name or password has no place in it")]
    Credentials,
    /// It carries a query.
    #[error("a query has no place in it")]
    Query,
}

/// Where a server is: scheme, host, port, and the path that its API is mounted under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
    prefix: String,
}

impl Endpoint {
    /// Whether the line is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host to connect to: a name, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What stands before `/v1` in every path: empty, or `/something` without a final `/`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Host and port as the `Host` header has them; the port of the scheme is left out.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.tls) { host } else { format!("{host}:{}", self.port) }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let tls = match text.split_once("://") {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => true,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => false,
            _ => return Err(EndpointError::Scheme),
        };
        if text.contains('#') {
            return Err(EndpointError::NotUrl);
        }
        let uri: Uri = text.parse().map_err(|_| EndpointError::NotUrl)?;
        let authority = uri.authority().ok_or(EndpointError::NoHost)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::Credentials);
        }
        if uri.query().is_some() {
            return Err(EndpointError::Query);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(EndpointError::NoHost);
        }
        // `http` accepts `host:` and `host:99999` as authorities and then reports no port.
        let names_a_port = authority.as_str().rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let port = match authority.port_u16() {
            Some(port) if port != 0 => port,
            None if !names_a_port => default_port(tls),
            _ => return Err(EndpointError::NotUrl),
        };
        Ok(Self { tls, host, port, prefix: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        let cases = [
            ("http://127.0.0.1:8080", "127.0.0.1", 8080, ""),
            ("https://api.example.com", "api.example.com", 443, ""),
            ("http://[::1]:8080", "::1", 8080, ""),
            ("https://example.com:8443/box/api", "example.com", 8443, "/box/api"),
        ];
        for (text, host, port, prefix) in cases {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!((endpoint.host(), endpoint.port(), endpoint.prefix()), (host, port, prefix));
            assert_eq!(endpoint.to_string(), text);
        }
        let slashed: Endpoint = "http://localhost:80/".parse().expect("an endpoint");
        assert_eq!(slashed.to_string(), "http://localhost");
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        let cases = [
            ("", EndpointError::Scheme),
            ("localhost:8080", EndpointError::Scheme),
            ("ftp://localhost", EndpointError::Scheme),
            ("http://", EndpointError::NotUrl),
            ("http://user:secret@localhost", EndpointError::Credentials),
            ("http://localhost/?a=b", EndpointError::Query),
            ("http://localhost/#a", EndpointError::NotUrl),
            ("http://localhost:99999", EndpointError::NotUrl),
            ("http://localhost:0", EndpointError::NotUrl),
            ("http://local host", EndpointError::NotUrl),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Endpoint>(), Err(expected), "{text:?}");
        }
    }
}
