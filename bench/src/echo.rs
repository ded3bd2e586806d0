//! A bare `hyper` server that stores nothing, and a bare `hyper` client: what HTTP alone costs.

use std::convert::Infallible;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;

use crate::content::{self, Check, Content};
use crate::floor::client::{OwnProcess, wait_for_socket};
use crate::subject::Subject;

type Body = BoxBody<Bytes, Infallible>;

/// Serves until it is killed: takes what comes, and gives as much as the path names.
pub(crate) fn serve(socket: &Path) -> Result<()> {
    runtime()?.block_on(async {
        let listener = UnixListener::bind(socket).context("bind the socket")?;
        loop {
            let (stream, _) = listener.accept().await?;
            let service = hyper::service::service_fn(answer);
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    })
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    if request.method() == Method::GET {
        let length = request.uri().path().trim_start_matches('/').parse().unwrap_or_default();
        return Ok(Response::new(body_of(Content { length })));
    }
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(Response::new(Full::default().boxed()))
}

fn body_of(content: Content) -> Body {
    let frames = content.chunks().map(|chunk| Ok(Frame::data(chunk)));
    StreamBody::new(stream::iter(frames)).boxed()
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// A connection to the bare server.
pub(crate) struct Echo {
    runtime: Runtime,
    connection: SendRequest<Body>,
    _server: OwnProcess,
}

impl Echo {
    pub(crate) fn start(sockets: &Path) -> Result<Self> {
        let socket = sockets.join("echo");
        let mut server = Command::new(std::env::current_exe()?);
        let server = OwnProcess(server.arg("echo").arg(&socket).stdin(Stdio::null()).spawn()?);
        wait_for_socket(&socket)?;
        let runtime = runtime()?;
        let connection = runtime.block_on(async {
            let stream = UnixStream::connect(&socket).await?;
            let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            anyhow::Ok(sender)
        })?;
        Ok(Self { runtime, connection, _server: server })
    }

    async fn call(connection: &mut SendRequest<Body>, request: Request<Body>) -> Result<Incoming> {
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        ensure!(response.status().is_success(), "the echo answers {}", response.status());
        Ok(response.into_body())
    }
}

fn request(method: Method, length: u64, body: Body) -> Result<Request<Body>> {
    Ok(Request::builder().method(method).uri(format!("/{length}")).header("host", "echo").body(body)?)
}

impl Subject for Echo {
    fn name(&self) -> &'static str {
        "hyper echo, one hop, stores nothing"
    }

    fn hops(&self) -> usize {
        1
    }

    fn stores(&self) -> bool {
        false
    }

    fn write(&mut self, _file: &str, content: Bytes) -> Result<()> {
        let request = request(Method::PUT, 0, Full::new(content).boxed())?;
        self.runtime.block_on(async {
            Self::call(&mut self.connection, request).await?.collect().await?;
            Ok(())
        })
    }

    fn read(&mut self, _file: &str) -> Result<Bytes> {
        let request = request(Method::GET, content::SMALL as u64, Full::default().boxed())?;
        self.runtime.block_on(async {
            Ok(Self::call(&mut self.connection, request).await?.collect().await?.to_bytes())
        })
    }

    fn upload(&mut self, _file: &str, content: Content, _digest: Option<[u8; 32]>) -> Result<()> {
        let request = request(Method::PUT, 0, body_of(content))?;
        self.runtime.block_on(async {
            Self::call(&mut self.connection, request).await?.collect().await?;
            Ok(())
        })
    }

    fn download(&mut self, _file: &str, content: Content, digest: Option<[u8; 32]>) -> Result<()> {
        let request = request(Method::GET, content.length, Full::default().boxed())?;
        self.runtime.block_on(async {
            let mut body = Self::call(&mut self.connection, request).await?;
            let mut check = Check::new(content, digest);
            while let Some(frame) = body.frame().await {
                if let Ok(bytes) = frame?.into_data() {
                    check.take(&bytes)?;
                }
            }
            check.finish()
        })
    }
}
