//! What the spawner does to boxes.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use devbox_types::agent::{AgentConfig, AgentListen};
use devbox_types::devbox::BoxSpec;
use devbox_types::{ActingUser, BoxId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::mount::MountFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Gid, Uid};

use super::protocol::{Answer, Failure, PAGE, Ready, Room};
use super::serve::Ticket;
use crate::backend::AGENT_KILLED;
use crate::cgroup::Cgroups;
use crate::config::Settings;
use crate::error::{Step, StepError};
use crate::pool::{self, Pool};
use crate::record::{Life, Record, Records};
use crate::rootfs::{BoxMounts, HostTemplate, make_directory, name_box};
use crate::seccomp::Filters;
use crate::start::{self, Parts};
use crate::sys::clone::Child;
use crate::transport::socket_name;
use crate::uid_range::{MACHINE_DIRECTORY, UidRange, UidRanges};

/// All boxes of a data directory, and what they are made with.
pub(super) struct Boxes {
    settings: Settings,
    agent: OwnedFd,
    pool: Box<dyn Pool>,
    records: Records,
    cgroups: Cgroups,
    ranges: UidRanges,
    template: HostTemplate,
    filters: Filters,
    sockets: OwnedFd,
    staging: PathBuf,
    boxes: BTreeMap<BoxId, Known>,
    /// Children that remove files, and who waits for them.
    removals: Vec<(Child, Vec<Ticket>)>,
    /// The lock on the data directory, held as long as this is.
    _lock: OwnedFd,
}

/// One box.
struct Known {
    record: Record,
    /// Whether its record is on disk: not before its maker has confirmed that the agent answers.
    confirmed: bool,
    running: Option<Running>,
}

/// What a running box has.
struct Running {
    first: Child,
    range: UidRange,
    ending: Ending,
}

/// What happens once the first process has ended.
enum Ending {
    /// Nobody asked for it: the agent was killed.
    Unasked,
    Stop(Vec<Ticket>),
    Delete(Vec<Ticket>),
}

impl Boxes {
    /// Gets everything ready, and clears what an earlier spawner left.
    pub(super) fn open(settings: &Settings, agent: OwnedFd) -> Result<Self, StepError> {
        rustix::process::umask(Mode::from_raw_mode(0o022));
        let data = &settings.data_dir;
        std::fs::create_dir_all(data).step("make the data directory")?;
        check_own(data)?;
        let lock = lock(data)?;
        let workshop = workshop()?;
        let pool = pool::open(settings.pool, data)?;
        let staging = workshop.join("stage");
        make_directory(&staging, 0o755).step("make the staging directory")?;
        let template = HostTemplate::make(&workshop, &settings.host_usr)?;
        let instance = instance(data)?;
        std::fs::write(data.join("instance"), format!("{instance}\n"))
            .step("note the name of the instance")?;
        let cgroups = Cgroups::open(instance)?;
        if settings.favor_dynamic_cgroups {
            favor_dynamic_cgroups(&workshop);
        }
        let mut boxes = Self {
            settings: settings.clone(),
            agent,
            pool,
            records: Records::open(data.join("records")).step("open the records of boxes")?,
            cgroups,
            ranges: UidRanges::open()?,
            template,
            filters: Filters::compile()
                .map_err(|error| StepError::new("compile the filters", io::Error::other(error)))?,
            sockets: socket_directory(data)?,
            staging,
            boxes: BTreeMap::new(),
            removals: Vec::new(),
            _lock: lock,
        };
        boxes.load()?;
        Ok(boxes)
    }

    /// What the server has to know.
    pub(super) fn describe(&self) -> Ready {
        Ready {
            templates: vec![self.template.describe()],
            pool: self.pool.kind().to_owned(),
            limits: self.cgroups.limit(),
        }
    }

    /// The directory of the agents' sockets.
    pub(super) fn sockets(&self) -> BorrowedFd<'_> {
        self.sockets.as_fd()
    }

    /// What to watch for an end.
    pub(super) fn children(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let firsts = self.boxes.values().filter_map(|known| known.running.as_ref());
        firsts
            .map(|running| running.first.pidfd.as_fd())
            .chain(self.removals.iter().map(|(child, _)| child.pidfd.as_fd()))
    }

    pub(super) fn list(&self, after: Option<&BoxId>) -> Answer {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.boxes.range::<BoxId, _>((from, Bound::Unbounded));
        let page = rest.by_ref().take(PAGE).map(|(id, known)| (id.clone(), known.record.status()));
        let boxes = page.collect();
        Answer::Boxes { boxes, more: rest.next().is_some() }
    }

    /// Has the pool leave the host's disk its reserve.
    pub(super) fn keep_reserve(&self) {
        if let Err(error) = self.pool.keep_reserve() {
            tracing::error!(%error, "cannot make the pool leave the host's disk its reserve");
        }
    }

    /// Makes a box and starts it; nothing is left of it if that fails.
    pub(super) fn create(&mut self, id: &BoxId, spec: BoxSpec) -> Result<BorrowedFd<'_>, Failure> {
        if spec.template != HostTemplate::NAME {
            return Err(Failure::NoSuchTemplate { name: spec.template });
        }
        if self.boxes.contains_key(id) {
            return Err(Failure::Exists);
        }
        if let Some(room) = pool::lacking(&*self.pool, &self.settings.data_dir)? {
            return Err(Failure::Full(room));
        }
        let layers = self.pool.make(id.as_str()).step("make the directory of a box")?;
        let running = name_box(layers.as_fd(), id.as_str())
            .step("write the name of a box")
            .map_err(Failure::from)
            .and_then(|()| self.run(id, &spec, &layers));
        let running = match running {
            Ok(running) => running,
            Err(failure) => {
                self.remove_files(id, Vec::new())?;
                return Err(failure);
            }
        };
        let record = Record::running(spec, running.range.first());
        self.boxes.insert(id.clone(), Known { record, confirmed: false, running: Some(running) });
        self.handle(id)
    }

    /// Writes the record of a box whose agent answers.
    pub(super) fn confirm(&mut self, id: &BoxId) -> Result<(), Failure> {
        let known = self.boxes.get_mut(id).ok_or(Failure::NoSuchBox)?;
        self.records.write(id, &known.record).step("write the record of a box")?;
        known.confirmed = true;
        Ok(())
    }

    /// Starts a box that does not run.
    pub(super) fn start(&mut self, id: &BoxId) -> Result<BorrowedFd<'_>, Failure> {
        let known = self.boxes.get(id).ok_or(Failure::NoSuchBox)?;
        if known.running.is_some() {
            return Err(Failure::NotStopped);
        }
        let spec = known.record.spec.clone();
        let layers = self.pool.open(id.as_str()).step("open the directory of a box")?;
        let running = self.run(id, &spec, &layers)?;
        let record = Record::running(spec, running.range.first());
        let written = self.records.write(id, &record).step("write the record of a box");
        self.boxes.insert(id.clone(), Known { record, confirmed: true, running: Some(running) });
        if let Err(error) = written {
            // The server takes it for not started, so it must not run.
            if let Some(running) = self.boxes.get(id).and_then(|known| known.running.as_ref()) {
                running.first.kill();
            }
            return Err(error.into());
        }
        self.handle(id)
    }

    /// The handle of a running box's first process.
    fn handle(&self, id: &BoxId) -> Result<BorrowedFd<'_>, Failure> {
        let running = self.boxes.get(id).and_then(|known| known.running.as_ref());
        running.map(|running| running.first.pidfd.as_fd()).ok_or(Failure::NoSuchBox)
    }

    /// Kills the processes of a box. Answers whether that is done; else [`Self::collect`] says when.
    pub(super) fn stop(&mut self, id: &BoxId, ticket: Ticket) -> Result<bool, Failure> {
        let known = self.boxes.get_mut(id).ok_or(Failure::NoSuchBox)?;
        let Some(running) = &mut known.running else {
            self.settle(id, Life::Stopped { reason: None })?;
            return Ok(true);
        };
        running.first.kill();
        match &mut running.ending {
            Ending::Unasked => running.ending = Ending::Stop(vec![ticket]),
            Ending::Stop(tickets) | Ending::Delete(tickets) => tickets.push(ticket),
        }
        Ok(false)
    }

    /// Removes a box. Answers whether that is done; else [`Self::collect`] says when.
    pub(super) fn delete(&mut self, id: &BoxId, ticket: Ticket) -> Result<bool, Failure> {
        let known = self.boxes.get_mut(id).ok_or(Failure::NoSuchBox)?;
        let Some(running) = &mut known.running else {
            return self.forget(id, vec![ticket]);
        };
        running.first.kill();
        let ending = std::mem::replace(&mut running.ending, Ending::Unasked);
        let mut tickets = match ending {
            Ending::Unasked => Vec::new(),
            Ending::Stop(tickets) | Ending::Delete(tickets) => tickets,
        };
        tickets.push(ticket);
        running.ending = Ending::Delete(tickets);
        Ok(false)
    }

    /// Finishes with every child that has ended, and answers those who waited for it.
    pub(super) fn collect(&mut self) -> Vec<(Ticket, Result<Answer, Failure>)> {
        let mut answers = Vec::new();
        let ended = self
            .boxes
            .iter()
            .filter(|(_, known)| known.running.as_ref().is_some_and(|running| has_ended(&running.first)));
        for id in ended.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            answers.extend(self.bury(&id));
        }
        for (child, tickets) in self.removals.extract_if(.., |(child, _)| has_ended(child)) {
            let outcome = removed(&child);
            answers.extend(tickets.into_iter().map(|ticket| (ticket, outcome.clone())));
        }
        answers
    }

    /// Kills every box and waits for all of it. Provisional boxes are removed; the others count as stopped.
    pub(super) fn end_all(&mut self) -> Result<(), StepError> {
        let running: Vec<_> = self
            .boxes
            .iter()
            .filter(|(_, known)| known.running.is_some())
            .map(|(id, _)| id.clone())
            .collect();
        for running in self.boxes.values().filter_map(|known| known.running.as_ref()) {
            running.first.kill();
        }
        for id in running {
            let outcome = self.let_go(&id).and_then(|()| {
                if self.boxes[&id].confirmed {
                    let reason = Some("server_restart".to_owned());
                    self.settle(&id, Life::Stopped { reason }).map(drop)
                } else {
                    self.forget(&id, Vec::new()).map(drop)
                }
            });
            if let Err(failure) = outcome {
                tracing::error!(box_id = %id, ?failure, "cannot end a box cleanly; the next start clears it");
            }
        }
        for (child, _) in self.removals.drain(..) {
            child.wait().step("wait for the removal of a box")?;
        }
        self.cgroups.sweep().step("remove the cgroups of all boxes")
    }

    /// Starts the first process of a box on its layers.
    fn run(&mut self, id: &BoxId, spec: &BoxSpec, layers: &OwnedFd) -> Result<Running, Failure> {
        let in_use: Vec<_> =
            self.boxes.values().filter_map(|known| known.running.as_ref()).map(|run| run.range).collect();
        let range = self.ranges.take(&in_use)?.ok_or(Failure::Full(Room::UidRanges))?;
        let first = self.first_process(id, spec, layers, range);
        if first.is_err() {
            self.ranges.release(range);
            self.clear(id)?;
        }
        Ok(Running { first: first?, range, ending: Ending::Unasked })
    }

    fn first_process(
        &mut self,
        id: &BoxId,
        spec: &BoxSpec,
        layers: &OwnedFd,
        range: UidRange,
    ) -> Result<Child, Failure> {
        let userns = self.ranges.namespace(range)?;
        let mounts = BoxMounts::make(&self.template, layers.as_fd(), userns.as_fd(), range.first())?;
        let cgroups = self.cgroups.create(id.as_str(), &spec.resources)?;
        let listener = self.listen(id).step("open the agent's socket")?;
        let environment = environment(spec, cgroups.payload_procs.len())?;
        let parts = Parts {
            name: id.as_str(),
            range,
            mounts: &mounts,
            staging: &self.staging,
            cgroups: &cgroups,
            listener: listener.as_fd(),
            agent: self.agent.as_fd(),
            environment,
            filters: &self.filters,
        };
        Ok(start::start(&parts)?)
    }

    /// Opens the socket of an agent, which the server alone may connect to.
    fn listen(&self, id: &BoxId) -> io::Result<OwnedFd> {
        const BACKLOG: i32 = 128;
        let name = socket_name(id);
        match rustix::fs::unlinkat(&self.sockets, &name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", self.sockets.as_raw_fd()))?;
        let mask = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = rustix::net::bind(&socket, &address);
        rustix::process::umask(mask);
        bound?;
        let (uid, gid) = (Uid::from_raw(self.settings.server_uid), Gid::from_raw(self.settings.server_gid));
        rustix::fs::chownat(&self.sockets, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    }

    /// Finishes with a box whose first process has ended, and answers those who waited for that.
    fn bury(&mut self, id: &BoxId) -> Vec<(Ticket, Result<Answer, Failure>)> {
        let running = self.boxes.get_mut(id).and_then(|known| known.running.as_mut());
        let ending = running.map(|running| std::mem::replace(&mut running.ending, Ending::Unasked));
        let let_go = self.let_go(id);
        let (tickets, outcome) = match ending {
            None => return Vec::new(),
            Some(Ending::Unasked) => {
                tracing::warn!(box_id = %id, "the agent of a box has ended unasked");
                let life = Life::Failed { reason: AGENT_KILLED.to_owned() };
                (Vec::new(), let_go.and_then(|()| self.settle(id, life)).map(|()| true))
            }
            Some(Ending::Stop(tickets)) => {
                let stopped = Life::Stopped { reason: None };
                (tickets, let_go.and_then(|()| self.settle(id, stopped)).map(|()| true))
            }
            Some(Ending::Delete(tickets)) => {
                (tickets.clone(), let_go.and_then(|()| self.forget(id, tickets)))
            }
        };
        match outcome {
            Ok(false) => Vec::new(),
            Ok(true) => tickets.into_iter().map(|ticket| (ticket, Ok(Answer::Done))).collect(),
            Err(failure) => {
                tracing::error!(box_id = %id, ?failure, "cannot finish with a box that has ended");
                tickets.into_iter().map(|ticket| (ticket, Err(failure.clone()))).collect()
            }
        }
    }

    /// Collects the first process of a box and gives back what it had beside files.
    fn let_go(&mut self, id: &BoxId) -> Result<(), Failure> {
        if let Some(running) = self.boxes.get_mut(id).and_then(|known| known.running.take()) {
            running.first.wait().step("collect the first process of a box")?;
            self.ranges.release(running.range);
        }
        self.clear(id)
    }

    fn clear(&self, id: &BoxId) -> Result<(), Failure> {
        match rustix::fs::unlinkat(&self.sockets, socket_name(id), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(StepError::new("remove the socket of a box", error).into()),
        }
        Ok(self.cgroups.remove(id.as_str()).step("remove the cgroups of a box")?)
    }

    /// Notes what became of a box that does not run any more.
    fn settle(&mut self, id: &BoxId, life: Life) -> Result<(), Failure> {
        let known = self.boxes.get_mut(id).ok_or(Failure::NoSuchBox)?;
        known.record.life = life;
        if known.confirmed {
            self.records.write(id, &known.record).step("write the record of a box")?;
        }
        Ok(())
    }

    /// Removes the record of a box that does not run, and then its files. Answers whether all is done.
    fn forget(&mut self, id: &BoxId, tickets: Vec<Ticket>) -> Result<bool, Failure> {
        self.records.remove(id).step("remove the record of a box")?;
        self.boxes.remove(id);
        self.remove_files(id, tickets)
    }

    fn remove_files(&mut self, id: &BoxId, tickets: Vec<Ticket>) -> Result<bool, Failure> {
        let Some(child) = self.pool.remove(id.as_str()).step("remove the files of a box")? else {
            return Ok(true);
        };
        self.removals.push((child, tickets));
        Ok(false)
    }

    /// Reads the records and makes the pool agree with them: what has no record was half made or half removed.
    fn load(&mut self) -> Result<(), StepError> {
        let loaded = self.records.load().step("read the records of boxes")?;
        self.pool.sweep().step("clear the pool")?;
        let mut kept = loaded.unreadable;
        for name in self.pool.names().step("list the pool")? {
            let known =
                name.parse::<BoxId>().is_ok_and(|id| loaded.records.contains_key(&id) || kept.contains(&id));
            if !known {
                tracing::info!(name, "removing a box that was not finished");
                if let Some(child) = self.pool.remove(&name).step("remove a box that was not finished")? {
                    child.wait().step("wait for the removal of a box")?;
                }
            }
        }
        kept.clear();
        for (id, mut record) in loaded.records {
            if record.settle() {
                self.records.write(&id, &record).step("write the record of a box")?;
            }
            self.boxes.insert(id, Known { record, confirmed: true, running: None });
        }
        Ok(())
    }
}

/// The agent's environment: its configuration, and nothing else.
fn environment(spec: &BoxSpec, cgroups: usize) -> Result<CString, StepError> {
    let config = AgentConfig {
        listen: AgentListen::Descriptor(start::LISTENER),
        default_user: ActingUser::Named("user".to_owned()),
        workdir: "/workspace".to_owned(),
        env: spec.env.clone(),
        payload_cgroups: (start::FIRST_CGROUP..).take(cgroups).collect(),
        init: true,
    };
    let json = serde_json::to_string(&config)
        .map_err(io::Error::from)
        .step("write the configuration of an agent")?;
    CString::new(format!("{}={json}", AgentConfig::VARIABLE))
        .map_err(io::Error::from)
        .step("write the configuration of an agent")
}

/// Makes sure that the directory is one of our own that nobody else can replace things in: all privileged work starts from
/// its name, and the directory above it belongs to the server, too.
fn check_own(data: &Path) -> Result<(), StepError> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::symlink_metadata(data).step("look at the data directory")?;
    let is_own = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw();
    if is_own && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let step =
        format!("use {}, which has to be a directory of root's that others cannot write", data.display());
    Err(StepError::new(step, io::Error::from_raw_os_error(libc::EPERM)))
}

/// How long the spawner of a server that was killed a moment ago may take to end its boxes.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// What fails when it is not.
pub(super) const LOCK_STEP: &str = "lock the data directory, which another server may be using";

/// Makes sure that this is the only spawner of the data directory.
fn lock(data: &Path) -> Result<OwnedFd, StepError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(data.join("lock"), flags, Mode::from_raw_mode(0o600))
        .step("open the lock of the data directory")?;
    let begun = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            taken => {
                taken.step(LOCK_STEP)?;
                return Ok(file);
            }
        }
    }
}

/// A file system in memory that only the spawner sees, for templates and for putting boxes together.
///
/// It is not in the data directory: the first process of a box goes there as the box's root, who need not be let through
/// to the data directory.
fn workshop() -> Result<PathBuf, StepError> {
    let workshop = Path::new(MACHINE_DIRECTORY).join("workshop");
    std::fs::create_dir_all(&workshop).step("make the workshop's directory")?;
    rustix::mount::mount("tmpfs", &workshop, "tmpfs", MountFlags::NOSUID, c"mode=0755")
        .step("mount the workshop")?;
    Ok(workshop)
}

/// The directory of the agents' sockets, empty. Its users need not be able to reach it by path: they get its descriptor.
fn socket_directory(data: &Path) -> Result<OwnedFd, StepError> {
    let directory = data.join("sockets");
    make_directory(&directory, 0o711).step("make the directory of sockets")?;
    for entry in std::fs::read_dir(&directory).step("read the directory of sockets")? {
        let entry = entry.step("read the directory of sockets")?;
        std::fs::remove_file(entry.path()).step("remove an old socket")?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&directory, flags, Mode::empty()).step("open the directory of sockets")
}

/// A name for this data directory that no other on this machine has: where its inode is.
fn instance(data: &Path) -> Result<String, StepError> {
    let found = rustix::fs::stat(data).step("look at the data directory")?;
    Ok(format!("{:x}-{:x}", found.st_dev, found.st_ino))
}

/// Spares each move between cgroups a grace period of the kernel, as long as this empty hierarchy is mounted.
fn favor_dynamic_cgroups(workshop: &Path) {
    let point = workshop.join("cgroup");
    let mounted = make_directory(&point, 0o700).and_then(|()| {
        let options = c"none,name=devbox,favordynmods";
        Ok(rustix::mount::mount("cgroup", &point, "cgroup", MountFlags::empty(), options)?)
    });
    if let Err(error) = mounted {
        tracing::info!(%error, "this kernel cannot favour dynamic cgroups: starts after idle take longer");
    }
}

fn has_ended(child: &Child) -> bool {
    let mut watched = [PollFd::from_borrowed_fd(child.pidfd.as_fd(), PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(rustix::io::retry_on_intr(|| poll(&mut watched, Some(&now))), Ok(1..))
}

fn removed(child: &Child) -> Result<Answer, Failure> {
    match child.wait() {
        Ok(Some(0)) => Ok(Answer::Done),
        Ok(_) => Err(Failure::Step { step: "remove the files of a box".to_owned(), errno: libc::EIO }),
        Err(error) => Err(StepError::new("collect the removal of a box", error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn attack_the_data_directory_is_somebody_elses() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = folder.path().join("own");
        std::fs::create_dir(&own).expect("a directory");
        check_own(&own).expect("it is ours");
        let link = folder.path().join("link");
        symlink(&own, &link).expect("a link");
        assert!(check_own(&link).is_err(), "a link may be turned");
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o770)).expect("a mode");
        assert!(check_own(&own).is_err(), "its group may replace what is in it");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("a file");
        assert!(check_own(&file).is_err());
        assert!(check_own(&folder.path().join("nothing")).is_err());
    }
}
