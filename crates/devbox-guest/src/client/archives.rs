//! Archives over HTTP.

use async_trait::async_trait;
use devbox_types::archive::ArchiveRequest;
use devbox_types::{Grant, Problem};
use http::StatusCode;

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
}
