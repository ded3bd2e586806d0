//! Uploads in pieces, over HTTP.

use async_trait::async_trait;
use devbox_types::upload::{ChunkRequest, UploadRequest, UploadRole, UploadStatus};
use devbox_types::{Grant, Problem, UploadId};
use http::{HeaderValue, Method, StatusCode, header};

use super::answer::{self, nonsense};
use super::files::write_headers;
use super::guest::{Call, GuestClient};
use crate::body::Body;
use crate::contract::Uploads;
use crate::wire::{self, digest, tus};

#[async_trait]
impl Uploads for GuestClient {
    async fn create_upload(&self, grant: &Grant, request: UploadRequest) -> Result<UploadStatus, Problem> {
        let UploadRequest { write, digest_follows, metadata, role } = request;
        let mut target = self.target("/uploads", None);
        target.write_options(&write);
        target.flag("digest_follows", digest_follows);
        let mut call = self.call(grant, Method::POST, target, Body::empty())?;
        announce(&mut call);
        write_headers(&mut call, &write)?;
        if let Some(role) = tus::role_header(&role) {
            call.text_header(wire::UPLOAD_CONCAT, role)?;
        }
        let given = tus::target_in(&metadata).is_ok_and(|path| path == write.path);
        let metadata = match role {
            UploadRole::Part => metadata,
            _ if given => metadata,
            UploadRole::File | UploadRole::Joined(_) => tus::metadata_for(&write.path),
        };
        if !metadata.is_empty() {
            call.text_header(wire::UPLOAD_METADATA, metadata)?;
        }
        let answer = if matches!(role, UploadRole::Joined(_)) {
            // However long it takes to put the parts together.
            self.send_stream(call, &[StatusCode::CREATED]).await?
        } else {
            call.header(wire::UPLOAD_LENGTH, HeaderValue::from(write.length.unwrap_or(0)));
            self.send(call, &[StatusCode::CREATED]).await?
        };
        status(answer::json(answer).await?)
    }

    async fn append_upload(
        &self,
        grant: &Grant,
        chunk: ChunkRequest,
        body: Body,
    ) -> Result<UploadStatus, Problem> {
        let mut call = self.upload_call(grant, Method::PATCH, &chunk.id, body)?;
        call.header(header::CONTENT_TYPE, HeaderValue::from_static(wire::PIECE));
        call.header(wire::UPLOAD_OFFSET, HeaderValue::from(chunk.offset));
        if let Some(checksum) = &chunk.checksum {
            call.text_header(wire::UPLOAD_CHECKSUM, tus::checksum_header(checksum))?;
        }
        if !chunk.digests.is_empty() {
            call.text_header(wire::REPR_DIGEST, digest::to_header(&chunk.digests))?;
        }
        let answer = self.send_stream(call, &[StatusCode::OK]).await?;
        status(answer::json(answer).await?)
    }

    async fn look_at_upload(&self, grant: &Grant, id: UploadId) -> Result<UploadStatus, Problem> {
        let call = self.upload_call(grant, Method::GET, &id, Body::empty())?;
        status(answer::json(self.send(call, &[StatusCode::OK]).await?).await?)
    }

    async fn delete_upload(&self, grant: &Grant, id: UploadId) -> Result<(), Problem> {
        let call = self.upload_call(grant, Method::DELETE, &id, Body::empty())?;
        answer::nothing(self.send(call, &[StatusCode::NO_CONTENT]).await?).await
    }
}

impl GuestClient {
    fn upload_call(&self, grant: &Grant, method: Method, id: &UploadId, body: Body) -> Result<Call, Problem> {
        let mut call = self.call(grant, method, self.target(&format!("/uploads/{id}"), None), body)?;
        announce(&mut call);
        Ok(call)
    }
}

/// Says which version of the protocol this is, and that a JSON answer is understood, where tus has none.
fn announce(call: &mut Call) {
    call.header(wire::TUS_RESUMABLE, HeaderValue::from_static(wire::TUS_VERSION));
    call.header(header::ACCEPT, HeaderValue::from_static(wire::JSON));
}

/// A status that does not contradict itself.
fn status(status: UploadStatus) -> Result<UploadStatus, Problem> {
    if status.offset_bytes > status.length_bytes {
        return Err(nonsense("the upload has more bytes than it will have"));
    }
    Ok(status)
}
