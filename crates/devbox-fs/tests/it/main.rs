//! The file engine from outside, against plain directories; `as_root` needs root for users, mounts and devices.

mod apply;
mod as_root;
mod attacks;
mod batch;
mod fixture;
mod listing;
mod reading;
mod recovery;
mod writing;
