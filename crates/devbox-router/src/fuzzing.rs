//! What fuzz targets need of the inside: no part of the interface.

use devbox_guest::Body;
use devbox_guest::contract::UploadParts;
use devbox_types::BoxPath;
use devbox_types::file::WriteRequest;

use crate::multipart::{self, Boundary, Defaults};

/// The parts of a body of this content type; `None` if that is no multipart type.
#[must_use]
pub fn parts(content_type: &str, body: Body) -> Option<UploadParts> {
    let boundary = Boundary::of(content_type)?;
    Some(multipart::parts(body, &boundary, Defaults(WriteRequest::to(BoxPath::root()))))
}
