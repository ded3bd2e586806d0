//! Archives over HTTP.

use async_trait::async_trait;
use devbox_types::archive::{ArchiveRequest, UnpackRequest};
use devbox_types::operation::Report;
use devbox_types::{Grant, Problem};
use http::{HeaderValue, Method, StatusCode, header};

use super::answer;
use super::guest::GuestClient;
use crate::body::Body;
use crate::contract::Archives;

#[async_trait]
impl Archives for GuestClient {
    async fn pack(&self, grant: &Grant, request: ArchiveRequest) -> Result<Body, Problem> {
        let call = self.json_call(grant, self.target("/archive", None), &request)?;
        let answer = self.send(call, &[StatusCode::OK]).await?;
        if !answer::has_type(answer.headers(), request.format.media_type()) {
            return Err(answer::nonsense("the answer is not an archive of the format asked for"));
        }
        Ok(answer.into_body())
    }

    async fn unpack(&self, grant: &Grant, request: UnpackRequest, body: Body) -> Result<Report, Problem> {
        let mut target = self.target("/archive", Some(&request.directory));
        target.pair("format", request.format);
        if request.strip > 0 {
            target.pair("strip", request.strip);
        }
        target.flag("parents", request.make_parents);
        let mut call = self.keyed_call(grant, Method::PUT, target, body)?;
        call.header(header::CONTENT_TYPE, HeaderValue::from_static(request.format.media_type()));
        answer::json(self.send_stream(call, &[StatusCode::OK]).await?).await
    }
}
