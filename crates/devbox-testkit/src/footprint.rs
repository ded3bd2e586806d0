//! What a server and its boxes leave on a host.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is there of one server: every process, mount and cgroup that can be told to be its.
///
/// A process is one of the server's if its command line, its cgroups or a mount in a namespace of its own bear a mark; a
/// mount is, by its root or place; a cgroup, by its path; a loop device, by its image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Footprint {
    /// `pid command line`.
    pub processes: BTreeSet<String>,
    /// Mount points in the host's namespace.
    pub mounts: BTreeSet<String>,
    /// Folders below `/sys/fs/cgroup`.
    pub cgroups: BTreeSet<PathBuf>,
    /// Loop devices with their images.
    pub loops: BTreeSet<String>,
}

impl Footprint {
    /// Looks for what bears one of these marks: a data directory, an instance, a box's id.
    #[must_use]
    pub fn of(marks: &[&str]) -> Self {
        let is_marked = |text: &str| marks.iter().any(|mark| text.contains(mark));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        // A data directory that is a file system of its own is a place, not something left in it.
        let is_left = |place: &&str| !marks.contains(place);
        let mounts = mounts.lines().filter(|line| is_marked(line)).filter_map(place).filter(is_left);
        let mounts = mounts.map(str::to_owned).collect();
        let mut cgroups = BTreeSet::new();
        collect_folders(Path::new("/sys/fs/cgroup"), &is_marked, &mut cgroups);
        Self { processes: processes(&is_marked), mounts, cgroups, loops: loops(&is_marked) }
    }

    /// Whether nothing is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Looks until nothing is there, or `patience` is over, and returns what is there then.
    #[must_use]
    pub fn wait_until_gone(marks: &[&str], patience: Duration) -> Self {
        let start = Instant::now();
        loop {
            let found = Self::of(marks);
            if found.is_empty() || start.elapsed() > patience {
                return found;
            }
            // The kernel takes apart namespaces and cgroups after the last process is gone; nothing announces it.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.processes.iter().try_for_each(|process| writeln!(formatter, "process {process}"))?;
        self.mounts.iter().try_for_each(|mount| writeln!(formatter, "mount {mount}"))?;
        self.loops.iter().try_for_each(|device| writeln!(formatter, "loop {device}"))?;
        self.cgroups.iter().try_for_each(|cgroup| writeln!(formatter, "cgroup {}", cgroup.display()))
    }
}

fn processes(is_marked: &impl Fn(&str) -> bool) -> BTreeSet<String> {
    let own = std::process::id();
    let host_mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let host_mounts: BTreeSet<&str> = host_mounts.lines().filter_map(place).collect();
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let cgroups = String::from_utf8_lossy(&read("cgroup")).into_owned();
        // In a namespace of its own a process has copies of the host's mounts too, which tell nothing.
        let mounts_are_marked = || {
            let mounts = String::from_utf8_lossy(&read("mountinfo")).into_owned();
            let own = mounts.lines().filter(|line| is_marked(line)).filter_map(place);
            own.filter(|place| !host_mounts.contains(*place)).count() > 0
        };
        // A process that ended and was not reaped yet holds nothing of the host but a row in its table.
        let is_alive = !String::from_utf8_lossy(&read("stat")).contains(") Z ");
        if pid != own && is_alive && (is_marked(&command) || is_marked(&cgroups) || mounts_are_marked()) {
            found.insert(format!("{pid} {command}"));
        }
    }
    found
}

/// The mount point in a line of mountinfo.
fn place(line: &str) -> Option<&str> {
    line.split(' ').nth(4)
}

fn loops(is_marked: &impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let image = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if is_marked(&image) {
            found.insert(format!("{} {}", entry.file_name().to_string_lossy(), image.trim()));
        }
    }
    found
}

fn collect_folders(folder: &Path, is_marked: &impl Fn(&str) -> bool, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = entry.path();
            if is_marked(&path.to_string_lossy()) {
                found.insert(path.clone());
            }
            collect_folders(&path, is_marked, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_the_mark_is_found_until_it_is_gone() {
        let mark = "devbox-footprint-test-mark";
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read line", mark])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("sh");
        assert_eq!(Footprint::of(&[mark]).processes.len(), 1);
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert!(Footprint::wait_until_gone(&[mark], Duration::from_secs(5)).is_empty());
    }
}
