//! The file engine from outside, against plain directories; `as_root` needs root for users, mounts and devices.

mod apply;
mod as_root;
mod attacks;
mod batch;
mod fixture;
mod keys;
mod listing;
mod metadata;
mod model;
mod patching;
mod reading;
mod recovery;
mod writing;

/// The agent moves all of these between threads; each call acts on the thread that makes it.
const _: () = {
    const fn sendable<T: Send>() {}
    sendable::<devbox_fs::BoxRoot>();
    sendable::<devbox_fs::View>();
    sendable::<devbox_fs::Staged>();
    sendable::<devbox_fs::Writer>();
    sendable::<devbox_fs::Reader>();
    sendable::<devbox_fs::Walk>();
    sendable::<devbox_fs::Batch>();
};
