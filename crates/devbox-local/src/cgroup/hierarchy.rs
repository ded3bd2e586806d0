//! Which cgroup hierarchies this machine has.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// The controllers that we use where they have a hierarchy of their own.
const CONTROLLERS: [&str; 4] = ["cpu", "memory", "pids", "freezer"];

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The mount point of each controller that we use.
    V1(BTreeMap<String, PathBuf>),
    /// The mount point of the one hierarchy.
    V2(PathBuf),
}

pub(super) fn find() -> io::Result<Option<Found>> {
    Ok(parse(&std::fs::read_to_string("/proc/self/mountinfo")?))
}

/// Reads the kernel's table of mounts, proc_pid_mountinfo(5). A machine that has v1 controllers and an empty v2 hierarchy
/// beside them ("hybrid") counts as v1.
fn parse(table: &str) -> Option<Found> {
    let mut controllers = BTreeMap::new();
    let mut unified = None;
    for line in table.lines() {
        let Some((mount, file_system)) = line.split_once(" - ") else { continue };
        let Some(point) = mount.split(' ').nth(4) else { continue };
        let mut parts = file_system.split(' ');
        let (kind, options) = (parts.next(), parts.nth(1).unwrap_or_default());
        match kind {
            Some("cgroup2") => unified = unified.or(Some(PathBuf::from(point))),
            Some("cgroup") => {
                for controller in options.split(',').filter(|option| CONTROLLERS.contains(option)) {
                    controllers.entry(controller.to_owned()).or_insert_with(|| PathBuf::from(point));
                }
            }
            _ => {}
        }
    }
    if controllers.is_empty() { unified.map(Found::V2) } else { Some(Found::V1(controllers)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_machine_is_v1() {
        let table = "30 25 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                     31 25 0:27 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                     32 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let Some(Found::V1(controllers)) = parse(table) else { panic!("not v1") };
        assert_eq!(controllers["memory"], PathBuf::from("/sys/fs/cgroup/memory"));
        assert_eq!(controllers["cpu"], PathBuf::from("/sys/fs/cgroup/cpu"));
        assert_eq!(controllers.len(), 2);
    }

    #[test]
    fn one_hierarchy_alone_is_v2() {
        let table = "30 25 0:26 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(parse(table), Some(Found::V2(PathBuf::from("/sys/fs/cgroup"))));
        assert_eq!(parse("1 2 0:3 / /proc rw - proc proc rw\n"), None);
    }
}
