//! Passes bytes on, as a server between client and agent must at the least.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::floor::BUFFER;

/// Listens on a free port, says which on standard output, and serves until it is killed.
pub(crate) fn serve(socket: &Path) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("bind a port")?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        relay(stream?, UnixStream::connect(socket)?)?;
    }
    Ok(())
}

fn relay(outer: TcpStream, inner: UnixStream) -> Result<()> {
    outer.set_nodelay(true)?;
    let (mut from_outer, mut to_outer) = (outer.try_clone()?, outer);
    let (mut from_inner, mut to_inner) = (inner.try_clone()?, inner);
    std::thread::spawn(move || {
        pass(&mut from_outer, &mut to_inner);
        let _ = to_inner.shutdown(Shutdown::Write);
    });
    std::thread::spawn(move || {
        pass(&mut from_inner, &mut to_outer);
        let _ = to_outer.shutdown(Shutdown::Write);
    });
    Ok(())
}

/// Passes bytes on until either end closes.
fn pass(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}
