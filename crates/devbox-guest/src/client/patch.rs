//! Patches over HTTP.

use devbox_types::file::Durability;
use devbox_types::patch::{PatchPlace, PatchRequest};
use devbox_types::{ErrorCode, Grant, Problem};
use http::{Method, header};

use super::files::condition_headers;
use super::guest::{Call, GuestClient};
use crate::body::Body;
use crate::wire::{self, digest};

impl GuestClient {
    /// Makes the request of a patch: where the bytes go is a `Content-Range` if their number is known, else a parameter.
    pub(super) fn patch_call(
        &self,
        grant: &Grant,
        request: PatchRequest,
        body: Body,
    ) -> Result<Call, Problem> {
        let length = request.length.or(body.length());
        let range = content_range(&request, length)?;
        let mut target = self.target("/files", Some(&request.path));
        match request.place {
            PatchPlace::End => target.flag("append", true),
            PatchPlace::Offset(offset) if range.is_none() => target.pair("offset", offset),
            PatchPlace::Offset(_) => {}
        }
        if let Some(size) = request.truncate {
            target.pair("truncate", size);
        }
        target.flag("create", request.create);
        target.flag("atomic", request.atomic);
        target.flag("verify", request.verify);
        target.flag("nofollow", request.nofollow);
        target.flag("sync", request.durability == Durability::Power);
        let mut call = self.call(grant, Method::PATCH, target, body)?;
        condition_headers(&mut call, &request.condition)?;
        if let Some(range) = range {
            call.text_header(header::CONTENT_RANGE, range)?;
        }
        if !request.digests.is_empty() {
            call.text_header(wire::CONTENT_DIGEST, digest::to_header(&request.digests))?;
        }
        Ok(call)
    }
}

fn content_range(request: &PatchRequest, length: Option<u64>) -> Result<Option<String>, Problem> {
    let first_and_last = match (request.place, length) {
        (PatchPlace::Offset(first), Some(length)) if length > 0 => {
            first.checked_add(length - 1).map(|last| (first, last))
        }
        _ => None,
    };
    match (first_and_last, request.size_after) {
        (Some((first, last)), Some(total)) => Ok(Some(format!("bytes {first}-{last}/{total}"))),
        (Some((first, last)), None) => Ok(Some(format!("bytes {first}-{last}/*"))),
        (None, None) => Ok(None),
        (None, Some(_)) => {
            let detail = "a size for the whole goes only with content of a known length at an offset";
            Err(Problem::new(ErrorCode::InvalidRequest, detail))
        }
    }
}
