//! Programs, and the environment they find.

use std::time::Duration;

use async_trait::async_trait;
use devbox_exec::{Command, Directory, ExecError, Identity, SignalTarget, Stdin};
use devbox_fs::Account;
use devbox_guest::Processes;
use devbox_guest::contract::{EventStream, InputStream};
use devbox_types::process::{ProcessRequest, ProcessSummary, SignalRequest, StdinSource};
use devbox_types::{ErrorCode, Grant, Problem, ProcessId, Right};
use futures_util::stream::StreamExt as _;

use crate::deadline::Deadline;
use crate::guest::LocalGuest;

/// Where programs are looked for, unless the request says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[async_trait]
impl Processes for LocalGuest {
    /// The environment is `PATH`, `HOME`, `USER`, `LANG`, then the box's own variables, then those of the request. A deadline
    /// of the grant that comes before the timeout of the request takes its place.
    async fn run(
        &self,
        grant: &Grant,
        request: ProcessRequest,
        input: InputStream,
    ) -> Result<EventStream, Problem> {
        self.check(grant)?;
        let account = self.root.account(&grant.user)?;
        let timeout = request.timeout_ms.map(Duration::from_millis);
        let timeout = [timeout, Deadline::of(grant).left()].into_iter().flatten().min();
        let directory = match &request.cwd {
            Some(path) => self.directory(path.as_bytes().to_vec(), false),
            None => self.directory(account.home.clone().into_bytes(), true),
        };
        let stdin = match request.stdin {
            StdinSource::Null => Stdin::Null,
            StdinSource::Text(text) => Stdin::Bytes(text.into()),
            StdinSource::Frames => Stdin::Stream,
        };
        let env = self.environment(&account, request.env);
        let identity = self.identity(account);
        let command = Command { argv: request.argv, env, directory, identity, stdin, timeout };
        let run = self.engine.run(command, input).await.map_err(problem_of)?;
        Ok(run.map(|event| event.map_err(problem_of)).boxed())
    }

    async fn processes(&self, grant: &Grant) -> Result<Vec<ProcessSummary>, Problem> {
        self.check(grant)?;
        Ok(self.engine.list())
    }

    async fn signal(&self, grant: &Grant, id: ProcessId, request: SignalRequest) -> Result<(), Problem> {
        self.check(grant)?;
        let target = if request.tree { SignalTarget::Tree } else { SignalTarget::Group };
        self.engine.signal(id, request.signal, target).await.map_err(problem_of)
    }
}

impl LocalGuest {
    fn check(&self, grant: &Grant) -> Result<(), Problem> {
        if !grant.rights.contains(Right::Execute) {
            return Err(Problem::new(ErrorCode::Forbidden, "this call has no right to processes"));
        }
        if !grant.root.is_root() {
            let detail = "a process cannot be confined to a folder, and this call is";
            return Err(Problem::new(ErrorCode::Forbidden, detail));
        }
        Ok(())
    }

    fn directory(&self, path: Vec<u8>, optional: bool) -> Directory {
        Directory { path, below: self.directory_root.clone(), optional }
    }

    fn environment(
        &self,
        account: &Account,
        requested: impl IntoIterator<Item = (String, String)>,
    ) -> Vec<(String, String)> {
        let user = if account.name.is_empty() { account.uid.to_string() } else { account.name.clone() };
        let own = [("PATH", PATH.to_owned()), ("HOME", account.home.clone()), ("USER", user)];
        let own = own.into_iter().chain([("LANG", "C.UTF-8".to_owned())]);
        let own = own.map(|(name, value)| (name.to_owned(), value));
        own.chain(self.env.clone()).chain(requested).collect()
    }

    /// Root becomes whom it acts as, and drops its own groups even to stay root. Anybody else can only stay who it is.
    fn identity(&self, account: Account) -> Option<Identity> {
        let own = rustix::process::geteuid();
        if !own.is_root() && own.as_raw() == account.uid {
            return None;
        }
        Some(Identity { uid: account.uid, gid: account.gid, groups: account.groups })
    }
}

fn problem_of(error: ExecError) -> Problem {
    Problem::of(&error)
}
