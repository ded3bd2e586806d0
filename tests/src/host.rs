//! A box, as the host sees it.

use std::fs;

/// A process of a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostProcess {
    /// Its pid on the host.
    pub pid: u32,
    /// Its pid in the box.
    pub inner_pid: u32,
    /// Its name.
    pub name: String,
}

/// The processes of a box: those in a cgroup that bears its id, in a pid namespace below the host's.
#[must_use]
pub fn processes_of(id: &str) -> Vec<HostProcess> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let in_box =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(id));
    pids.filter(in_box).filter_map(look_at).collect()
}

/// The agent of a box: PID 1 of its namespace.
#[must_use]
pub fn agent_of(id: &str) -> Option<HostProcess> {
    processes_of(id).into_iter().find(|process| process.inner_pid == 1)
}

fn look_at(pid: u32) -> Option<HostProcess> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if field("State:")?.starts_with('Z') {
        return None;
    }
    let inner_pid = field("NSpid:")?.split_whitespace().last()?.parse().ok()?;
    Some(HostProcess { pid, inner_pid, name: field("Name:")?.to_owned() })
}
