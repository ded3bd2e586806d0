//! Whose guest is called, on whose behalf, about which path.

use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use devbox_guest::wire::query::Query;
use devbox_guest::{Guest, wire};
use devbox_types::{ActingUser, BoxPath, ErrorCode, Grant, IdempotencyKey, Problem, RequestId, Right};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Uri};

use crate::codings::is_coded;
use crate::content::Coded;
use crate::failure::Failure;

/// The guest that a request is about: among the request's extensions, put there by whoever resolved it.
#[derive(Clone)]
pub struct GuestHandle(pub Arc<dyn Guest>);

impl fmt::Debug for GuestHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("GuestHandle")
    }
}

/// Where the grant of a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantSource {
    /// From the request's extensions, where authentication put it; a `devbox-grant` header means nothing.
    Extension,
    /// From the `devbox-grant` header, for whoever may connect is trusted; without it, the whole box.
    Header,
}

/// What every call starts from.
pub(crate) struct Call {
    pub(crate) guest: Arc<dyn Guest>,
    pub(crate) grant: Grant,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Query<'static>,
    /// Whom the request asks to act as, if it says.
    pub(crate) asked_user: Option<ActingUser>,
    uri: Uri,
}

impl Call {
    /// The raw path of the target.
    pub(crate) fn raw_path(&self) -> &str {
        self.uri.path()
    }

    /// The path that follows the resource in the raw target.
    pub(crate) fn path_below(&self, resource: &str) -> Result<BoxPath, Problem> {
        // The routes begin with the resource, so its absence cannot happen; no path is the root.
        let raw = self.uri.path().strip_prefix(resource).unwrap_or("");
        Ok(BoxPath::parse_target(raw)?)
    }

    /// Takes the key of a call that is to have its effect once.
    pub(crate) fn take_idempotency_key(&mut self) -> Result<(), Problem> {
        let key = self.header(&wire::IDEMPOTENCY_KEY)?.map(str::parse::<IdempotencyKey>).transpose();
        if let Some(key) = key.map_err(|error| invalid(error.to_string()))? {
            self.grant.idempotency_key = Some(key);
        }
        if self.query.take_flag(wire::IDEMPOTENT)? && self.grant.idempotency_key.is_none() {
            return Err(invalid("`idempotent` needs an `Idempotency-Key`"));
        }
        Ok(())
    }

    /// Checks that the call understood every query parameter.
    pub(crate) fn finish_query(&mut self) -> Result<(), Problem> {
        std::mem::take(&mut self.query).finish()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &HeaderName) -> Result<Option<&str>, Problem> {
        header_text(&self.headers, name)
    }
}

/// A header as text; one that comes twice has no single meaning here and is refused.
pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    text.map(Some).ok_or_else(|| invalid(format!("header `{name}` is not one line of text")))
}

/// A malformed request.
pub(crate) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::InvalidRequest, detail)
}

impl FromRequestParts<GrantSource> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, source: &GrantSource) -> Result<Self, Failure> {
        let Some(GuestHandle(guest)) = parts.extensions.remove() else {
            return Err(Failure(Problem::new(ErrorCode::Internal, "no guest was resolved for this request")));
        };
        let mut query = Query::parse(parts.uri.query())?.into_owned();
        let mut grant = match source {
            GrantSource::Header => grant_in(&parts.headers)?,
            GrantSource::Extension => parts
                .extensions
                .remove()
                .ok_or_else(|| Problem::new(ErrorCode::Internal, "no grant was made for this request"))?,
        };
        let asked_user = query.take_parsed::<ActingUser>("user")?;
        if let Some(user) = asked_user.clone() {
            grant = act_as(grant, user)?;
        }
        if grant.request_id.is_none() {
            grant.request_id = parts.extensions.get::<RequestId>().cloned();
        }
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        if is_coded(&parts.headers) {
            parts.extensions.insert(Coded);
        }
        Ok(Self { guest, grant, method, headers: std::mem::take(&mut parts.headers), query, asked_user, uri })
    }
}

fn grant_in(headers: &HeaderMap) -> Result<Grant, Problem> {
    match header_text(headers, &wire::GRANT)? {
        None => Ok(Grant::whole_box()),
        Some(json) => serde_json::from_str(json).map_err(|error| invalid(format!("the grant: {error}"))),
    }
}

/// The grant as another user, if it allows that.
fn act_as(grant: Grant, user: ActingUser) -> Result<Grant, Problem> {
    if user == grant.user || grant.rights.contains(Right::ActAsAnyUser) {
        return Ok(grant.with_user(user));
    }
    if user == ActingUser::Default {
        return Ok(grant);
    }
    Err(Problem::new(ErrorCode::Forbidden, "this key may act as the default user only")
        .with_hint("leave out `user`, or use a key that may act as any user"))
}
