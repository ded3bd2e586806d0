//! A line between a client and a server that breaks after so many bytes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How many bytes a line carries to the server, or back, before it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// After so many bytes from the client.
    Up(u64),
    /// After so many bytes from the server.
    Down(u64),
    /// Never, but after so many bytes from the client nothing passes any more, until that goes away.
    HoldUp(u64),
}

/// A proxy for TCP, each of whose connections may be cut: at an exact byte of either direction, counted over all connections.
///
/// What is behind the byte is never passed on, and both ends see the connection fail. After that, the line works again until
/// the next cut is set.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    line: Arc<Line>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Line {
    cut: Mutex<Option<Cut>>,
    cuts: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Works,
    Breaks,
    Holds,
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    Up,
    Down,
}

impl Proxy {
    /// Listens on a free port, and passes everything on to `server`.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, line) = (listener.local_addr()?, Arc::new(Line::default()));
        let shared = Arc::clone(&line);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, server, Arc::clone(&shared)));
            }
        });
        Ok(Self { address, line, accepting })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets where the line breaks next, counted from now.
    pub fn cut(&self, cut: Cut) {
        *self.line.cut.lock().unwrap_or_else(PoisonError::into_inner) = Some(cut);
    }

    /// How often it broke.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.line.cuts.load(Ordering::Relaxed)
    }

    /// How many bytes it has carried to the server.
    #[must_use]
    pub fn carried_up(&self) -> u64 {
        self.line.up.load(Ordering::Relaxed)
    }

    /// How many bytes it has carried to clients.
    #[must_use]
    pub fn carried_down(&self) -> u64 {
        self.line.down.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Line {
    /// How many of `bytes` may pass, and what becomes of the line behind them.
    fn carry(&self, direction: Direction, bytes: usize) -> (usize, Fate) {
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, fate) = match (&mut *cut, direction) {
            (Some(Cut::Up(left)), Direction::Up) | (Some(Cut::Down(left)), Direction::Down) => {
                (left, Fate::Breaks)
            }
            (Some(Cut::HoldUp(left)), Direction::Up) => (left, Fate::Holds),
            _ => {
                self.count(direction, bytes);
                return (bytes, Fate::Works);
            }
        };
        let passing = bytes.min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= passing as u64;
        let is_cut = *left == 0;
        if is_cut {
            *cut = None;
            self.cuts.fetch_add(1, Ordering::Relaxed);
        }
        self.count(direction, passing);
        (passing, if is_cut { fate } else { Fate::Works })
    }

    fn count(&self, direction: Direction, bytes: usize) {
        let counter = match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

async fn connect(client: TcpStream, server: SocketAddr, line: Arc<Line>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let up = pass(from_client, to_server, Direction::Up, &line);
    let down = pass(from_server, to_client, Direction::Down, &line);
    // The end of either is passed on by itself; a cut ends both, and drops all four halves.
    let _ = tokio::try_join!(up, down);
}

/// Passes bytes on until their end; an error once the line is broken.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    line: &Line,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        let (passing, fate) = line.carry(direction, count);
        to.write_all(&buffer[..passing]).await?;
        match fate {
            Fate::Works => {}
            Fate::Breaks => return Err(std::io::ErrorKind::ConnectionReset.into()),
            Fate::Holds => {
                // Read and thrown away, so that its end is noticed.
                while from.read(&mut buffer).await? > 0 {}
                return Err(std::io::ErrorKind::ConnectionReset.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says what it hears.
    async fn echo() -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        Ok(address)
    }

    async fn said_back(proxy: &Proxy, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect(proxy.address()).await?;
        // It may be cut off while it speaks.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        Ok(heard)
    }

    #[tokio::test]
    async fn a_line_breaks_at_the_byte_and_works_again() -> Result<()> {
        let proxy = Proxy::start(echo().await?).await?;
        for at in [1, 7, 20_000] {
            proxy.cut(Cut::Down(at));
            let heard = said_back(&proxy, &[5; 30_000]).await?;
            assert!(heard.len() as u64 <= at, "{} of {at}", heard.len());
            assert_eq!(said_back(&proxy, &[6; 30_000]).await?.len(), 30_000);
        }
        assert_eq!(proxy.cuts(), 3);
        let before = proxy.carried_up();
        proxy.cut(Cut::Up(5));
        said_back(&proxy, &[7; 100]).await?;
        assert_eq!((proxy.carried_up() - before, proxy.cuts()), (5, 4));
        Ok(())
    }
}
