//! Who asks, and what is theirs.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use devbox_store::{BoxRecord, KeyRecord, Store};
use devbox_types::devbox::KeyRole;
use devbox_types::{BoxId, ErrorCode, RequestId, Right, Rights};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::allotment::Allotment;
use crate::app::{Actor, App};
use crate::refusal::Refusal;

/// The key in the `Authorization` header, and what it may use; the request is counted against that.
///
/// One hash and look-ups in memory. Every way to fail is answered alike, but for a missing header.
pub(crate) fn authenticate(
    app: &App,
    headers: &HeaderMap,
) -> Result<(Arc<KeyRecord>, Arc<Allotment>), Refusal> {
    let Some(header) = headers.get(AUTHORIZATION) else {
        return Err(unauthorized("the request has no API key"));
    };
    let bearer = header.to_str().ok().and_then(bearer);
    let key = bearer.and_then(|key| app.store.authenticate(key));
    let key = key.ok_or_else(|| unauthorized("the API key is not valid"))?;
    let allotment = app.allotments.of(&key);
    allotment.admit().map_err(Refusal::passing)?;
    Ok((key, allotment))
}

/// What follows `Bearer`, in whatever case that is written (RFC 9110 section 11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, key) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn unauthorized(detail: &str) -> Refusal {
    Refusal::new(ErrorCode::Unauthorized, detail).with_hint("send `Authorization: Bearer <key>`")
}

/// The box of this id or name, if it is the key's project that has it.
///
/// Another project's box, one that is still being made, and none at all are answered alike.
pub(crate) fn find_box(store: &Store, key: &KeyRecord, reference: &str) -> Result<Arc<BoxRecord>, Refusal> {
    let visible = |record: &Arc<BoxRecord>| record.ready && record.project == key.project;
    let by_id = || store.find_box(&reference.parse::<BoxId>().ok()?).filter(visible);
    let by_name = || store.find_box_named(&key.project, reference).filter(visible);
    by_id().or_else(by_name).ok_or_else(|| no_such_box(reference))
}

pub(crate) fn no_such_box(reference: &str) -> Refusal {
    // What was asked for goes back into an answer that people read: bounded, and without control characters.
    let shown: String = reference.chars().filter(|c| !c.is_control()).take(64).collect();
    Refusal::new(ErrorCode::DevboxNotFound, format!("there is no box {shown:?}"))
        .with_hint("list the boxes of this key's project with `devbox ls`")
}

/// What a key of this role may do inside a box.
pub(crate) fn rights_of(role: KeyRole) -> Rights {
    match role {
        KeyRole::Admin | KeyRole::Member => {
            Rights::of(&[Right::Read, Right::Write, Right::Execute, Right::ActAsAnyUser])
        }
    }
}

impl FromRequestParts<Arc<App>> for Actor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let (key, _) = authenticate(app, &parts.headers)?;
        let request_id = parts.extensions.get::<RequestId>().cloned();
        let request_id = request_id.unwrap_or_else(|| app.request_ids.of(&parts.headers));
        Ok(Self { key, request_id })
    }
}

/// An [`Actor`] whose key is an admin's.
#[derive(Debug, Clone)]
pub(crate) struct Admin(pub(crate) Actor);

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let actor = Actor::from_request_parts(parts, app).await?;
        match actor.key.role {
            KeyRole::Admin => Ok(Self(actor)),
            KeyRole::Member => Err(Refusal::new(ErrorCode::Forbidden, "this needs an admin's key")
                .with_hint("use a key of role `admin`, such as the one in `first.key`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_read_in_any_case() {
        assert_eq!(bearer("Bearer x"), Some("x"));
        assert_eq!(bearer("bEARER  x "), Some("x"));
        for header in ["Basic x", "Bearer", "x", ""] {
            assert_eq!(bearer(header), None, "{header:?}");
        }
    }
}
