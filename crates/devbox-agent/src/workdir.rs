//! The folder that relative paths start from.

use devbox_fs::{BoxRoot, FsError};
use devbox_types::operation::Operation;
use devbox_types::{ActingUser, BoxPath, Grant};

/// Makes the folder with what is missing on the way, and gives it to the default user, unless it is there.
///
/// Like every path of the box it is looked up by the file engine, so a link planted on the way leads nowhere else.
pub fn ensure(root: &BoxRoot, path: &BoxPath) -> Result<(), FsError> {
    let is_root = rustix::process::geteuid().is_root();
    let user = if is_root { ActingUser::root() } else { ActingUser::Default };
    let view = root.enter(&Grant::whole_box().with_user(user))?;
    match view.stat(path, true) {
        Err(FsError::NotFound { .. }) => (),
        other => return other.map(drop),
    }
    let mut operations = vec![Operation::Mkdir { path: path.clone(), mode: None, parents: true }];
    if is_root {
        let owner = root.account(&ActingUser::Default)?;
        operations.push(Operation::Chown {
            path: path.clone(),
            owner: Some(ActingUser::Uid(owner.uid)),
            gid: Some(owner.gid),
            nofollow: true,
        });
    }
    view.apply(&operations).map(drop)
}
