//! A bare `hyper` server that stores nothing: what HTTP alone costs.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

use crate::content::{self, Check, Content};
use crate::http::{Address, Body, Http, body_of, full};
use crate::process::{OwnProcess, wait_for_socket};
use crate::result::{Role, SubjectFacts};
use crate::row::Row;
use crate::subject::{Move, Subject};

/// Serves until it is killed: takes what comes, and gives as much as the path names.
pub(crate) fn serve(socket: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
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
    Ok(Response::new(full("")))
}

/// A connection to the bare server.
pub(crate) struct Echo {
    facts: SubjectFacts,
    http: Http,
    _server: OwnProcess,
}

impl Echo {
    pub(crate) fn start(sockets: &Path) -> Result<Self> {
        let socket = sockets.join("echo");
        let mut server = Command::new(std::env::current_exe()?);
        let server = OwnProcess(server.arg("echo").arg(&socket).stdin(Stdio::null()).spawn()?);
        wait_for_socket(&socket)?;
        let facts = SubjectFacts {
            name: "hyper echo".to_owned(),
            role: Role::Echo,
            hops: 1,
            file_system: "none".to_owned(),
            publishing: "stores nothing".to_owned(),
        };
        Ok(Self { facts, http: Http::to(Address::Unix(socket))?, _server: server })
    }
}

fn request(method: Method, length: u64, body: Body) -> Result<Request<Body>> {
    Ok(Request::builder().method(method).uri(format!("/{length}")).body(body)?)
}

impl Subject for Echo {
    fn facts(&self) -> &SubjectFacts {
        &self.facts
    }

    fn can(&self, row: Row) -> bool {
        matches!(row, Row::Write | Row::Read | Row::Up | Row::Down | Row::DownVerified)
    }

    fn write(&mut self, _file: &str, content: Bytes) -> Result<()> {
        self.http.call(request(Method::PUT, 0, full(content))?)?;
        Ok(())
    }

    fn read(&mut self, _file: &str) -> Result<Bytes> {
        let answer = self.http.call(request(Method::GET, content::SMALL as u64, full(""))?)?;
        Ok(answer.into_body())
    }

    fn upload(&mut self, _file: &str, what: Move) -> Result<()> {
        if what.digest.is_some() {
            bail!("it does not look at what it is given");
        }
        self.http.call(request(Method::PUT, 0, body_of(what.content))?)?;
        Ok(())
    }

    fn download(&mut self, _file: &str, what: Move) -> Result<()> {
        let request = request(Method::GET, what.content.length, full(""))?;
        self.http.compare(request, Check::new(what.content, what.digest))
    }
}
