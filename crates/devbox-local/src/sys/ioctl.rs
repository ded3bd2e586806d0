//! ioctl(2): btrfs subvolumes, loop devices, the loopback interface.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

const BTRFS_SUBVOLUME_CREATE: libc::Ioctl = 0x5000_940e;
const BTRFS_SNAPSHOT_DESTROY: libc::Ioctl = 0x5000_940f;
const LOOP_GET_FREE: libc::Ioctl = 0x4c82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
const LOOP_AUTOCLEAR: u32 = 4;

/// The argument of btrfs's calls by name.
#[repr(C)]
struct VolumeArguments {
    descriptor: i64,
    name: [u8; 4088],
}

/// The argument of `LOOP_CONFIGURE`, of whose parts only three are used.
#[repr(C)]
struct LoopConfiguration {
    descriptor: u32,
    block_size: u32,
    before_flags: [u64; 5],
    numbers: [u32; 3],
    flags: u32,
    names: [u8; 64 + 64 + 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// Makes a btrfs subvolume.
pub(crate) fn create_subvolume(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    volume_call(parent, BTRFS_SUBVOLUME_CREATE, name)
}

/// Deletes a btrfs subvolume and all in it, without walking it.
pub(crate) fn delete_subvolume(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    volume_call(parent, BTRFS_SNAPSHOT_DESTROY, name)
}

fn volume_call(parent: BorrowedFd<'_>, call: libc::Ioctl, name: &str) -> io::Result<()> {
    let mut arguments = VolumeArguments { descriptor: 0, name: [0; 4088] };
    let bytes = name.as_bytes();
    if bytes.len() >= arguments.name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    arguments.name[..bytes.len()].copy_from_slice(bytes);
    #[expect(unsafe_code, reason = "btrfs has no safe wrapper")]
    // SAFETY: both calls read this structure, whose name ends with a zero; it outlives the call.
    let answer = unsafe { libc::ioctl(parent.as_raw_fd(), call, &raw const arguments) };
    super::checked(answer.into()).map(drop)
}

/// Puts `image` behind a free loop device, which goes away by itself with its last user, and answers its path.
///
/// # Errors
/// What opening and configuring a device say; `EBUSY` if others were faster each time.
pub(crate) fn attach_loop(image: BorrowedFd<'_>) -> io::Result<(String, OwnedFd)> {
    const ATTEMPTS: usize = 16;
    let control = rustix::fs::open("/dev/loop-control", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for _ in 0..ATTEMPTS {
        #[expect(unsafe_code, reason = "loop devices have no safe wrapper")]
        // SAFETY: this call takes no argument.
        let number = super::checked(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_GET_FREE) }.into())?;
        let path = format!("/dev/loop{number}");
        let device = rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let configuration = LoopConfiguration {
            descriptor: image.as_raw_fd().cast_unsigned(),
            block_size: 0,
            before_flags: [0; 5],
            numbers: [0; 3],
            flags: LOOP_AUTOCLEAR,
            names: [0; 160],
            init: [0; 2],
            reserved: [0; 8],
        };
        #[expect(unsafe_code, reason = "loop devices have no safe wrapper")]
        // SAFETY: the structure has the layout of the kernel's `loop_config` and outlives the call.
        let answer = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const configuration) };
        match super::checked(answer.into()) {
            Ok(_) => return Ok((path, device)),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    #[repr(C)]
    struct InterfaceFlags {
        name: [u8; 16],
        flags: libc::c_short,
        rest: [u8; 22],
    }
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut request = InterfaceFlags { name: [0; 16], flags: FLAG_UP, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    #[expect(unsafe_code, reason = "interface flags have no safe wrapper")]
    // SAFETY: the structure has the layout and size of `ifreq` with flags, and outlives the call.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    super::checked(answer.into()).map(drop)
}

/// `IFF_UP`, in the width that `ifreq` gives it.
const FLAG_UP: libc::c_short = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_sizes_of_the_kernel() {
        assert_eq!(size_of::<VolumeArguments>(), 4096);
        assert_eq!(size_of::<LoopConfiguration>(), 304);
        assert_eq!(std::mem::offset_of!(LoopConfiguration, flags), 8 + 52);
    }
}
