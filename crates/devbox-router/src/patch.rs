//! Changing a part of a file.

use axum::response::Response;
use devbox_types::Problem;
use devbox_types::file::Durability;
use devbox_types::patch::{ContentRange, PatchPlace, PatchRequest};
use http::header;

use crate::call::{Call, invalid};
use crate::codings;
use crate::content::SentContent;
use crate::failure::Failure;
use crate::files::{self, condition, render_written};

pub(crate) async fn patch(mut call: Call, SentContent(body): SentContent) -> Result<Response, Failure> {
    let (body, digests) = codings::stored(&call.headers, body)?;
    let request = PatchRequest { digests, ..patch_request(&mut call, body.length())? };
    render_written(&call.guest.patch(&call.grant, request, body).await?)
}

fn patch_request(call: &mut Call, length: Option<u64>) -> Result<PatchRequest, Problem> {
    let path = call.path_below(files::RESOURCE)?;
    let truncate = call.query.take_parsed("truncate")?;
    let (place, length, size_after) = place(call, length, truncate.is_some())?;
    let request = PatchRequest {
        truncate,
        size_after,
        condition: condition(&call.headers)?,
        create: call.query.take_flag("create")?,
        atomic: call.query.take_flag("atomic")?,
        verify: call.query.take_flag("verify")?,
        nofollow: call.query.take_flag("nofollow")?,
        durability: if call.query.take_flag("sync")? { Durability::Power } else { Durability::Process },
        length,
        ..PatchRequest::at(path, place)
    };
    call.finish_query()?;
    Ok(request)
}

/// Where the bytes go, how many come, and how long the file is to be with them.
fn place(
    call: &mut Call,
    length: Option<u64>,
    truncates: bool,
) -> Result<(PatchPlace, Option<u64>, Option<u64>), Problem> {
    let append = call.query.take_flag("append")?;
    let offset: Option<u64> = call.query.take_parsed("offset")?;
    let range = call.header(&header::CONTENT_RANGE)?.map(ContentRange::parse).transpose();
    let range = range.map_err(|error| invalid(error.to_string()))?;
    match (range, offset, append) {
        (Some(range), None, false) => match length {
            Some(length) if length != range.length => Err(invalid(format!(
                "the Content-Range is of {} bytes, and the content has {length}",
                range.length
            ))),
            _ => Ok((PatchPlace::Offset(range.first), Some(range.length), range.total)),
        },
        (None, Some(offset), false) => Ok((PatchPlace::Offset(offset), length, None)),
        (None, None, true) => Ok((PatchPlace::End, length, None)),
        (None, None, false) if truncates && length == Some(0) => Ok((PatchPlace::End, length, None)),
        (None, None, false) => Err(invalid("it is not said where the bytes go").with_hint(
            "send a Content-Range, or `offset=N`, or `append=true`; or `truncate=SIZE` without content",
        )),
        _ => Err(invalid("a Content-Range, `offset` and `append` exclude each other")),
    }
}
