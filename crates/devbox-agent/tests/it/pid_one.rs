//! The agent as PID 1 of a box. These need root, to make the namespaces; as anybody else there is no PID 1 to look at, and
//! what is asserted is that the agent does not claim to be one.

use std::time::Duration;

use devbox_guest::{Body, Files as _};
use devbox_types::file::WriteRequest;
use devbox_types::{BoxPath, Grant};

use crate::support::{Agent, PATIENCE, shell};

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn it_is_pid_1_and_reaps_orphans() {
    let agent = Agent::start();
    let parent = agent.shell("cut -d ' ' -f 4 /proc/$$/stat").await;
    assert_eq!(parent.trim() == "1", is_root());
    if !is_root() {
        return;
    }
    agent.shell("for i in 1 2 3 4 5 6 7 8 9; do (sleep 0.01 &) ; done").await;
    let zombies = "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l";
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while agent.shell(zombies).await.trim() != "0" {
        assert!(tokio::time::Instant::now() < deadline, "zombies stay");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Box root against its agent: memory, descriptors, ptrace, signals. CVE-2019-5736 began with such a descriptor.
#[tokio::test]
async fn attack_box_root_takes_over_agent() {
    if !is_root() {
        return programs_of_a_plain_user_are_equals_of_their_agent().await;
    }
    let agent = Agent::start();
    let status = agent.shell("grep -E 'Cap(Bnd|Prm|Inh|Amb)|NoNewPrivs' /proc/self/status").await;
    // CAP_WAKE_ALARM and CAP_SYS_PTRACE.
    const GUARD: u64 = 1 << 35 | 1 << 19;
    for line in status.lines().filter(|line| line.starts_with("Cap")) {
        let set = u64::from_str_radix(line.rsplit('\t').next().expect("a set"), 16).expect("hexadecimal");
        assert_eq!(set & GUARD, 0, "no program has the guard: {status}");
    }
    let attack = "import ctypes, os, signal, sys\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        def failed(what, result):\n    \
            print(what, 'TOOK' if result >= 0 else ctypes.get_errno())\n\
        fd = libc.syscall(434, 1, 0)\n\
        for number in range(0, 64):\n    \
            result = libc.syscall(438, fd, number, 0)\n    \
            if result >= 0: print('pidfd_getfd TOOK', number)\n\
        failed('attach', libc.ptrace(16, 1, 0, 0))\n\
        failed('seize', libc.ptrace(0x4206, 1, 0, 0))\n\
        for name in ('mem', 'environ', 'maps', 'auxv', 'fd/0', 'fd/3', 'map_files', 'exe', 'cwd', 'root/etc'):\n    \
            try:\n        \
                path = '/proc/1/' + name\n        \
                os.listdir(path) if name in ('fd', 'map_files') else os.open(path, os.O_RDONLY)\n        \
                print(name, 'TOOK')\n    \
            except OSError as error:\n        \
                print(name, error.errno)\n\
        for thread in os.listdir('/proc/1/task'):\n    \
            failed('thread', libc.ptrace(16, int(thread), 0, 0))\n\
        class Info(ctypes.Structure):\n    \
            _fields_ = [(name, ctypes.c_int) for name in ('signo', 'errno', 'code', 'pad', 'pid', 'uid')] + \
                [('rest', ctypes.c_char * 104)]\n\
        forged = Info(15, 0, -1, 0, 0, 0)\n\
        print('forged', libc.syscall(129, 1, 15, ctypes.byref(forged)))\n\
        os.kill(1, 9); os.kill(1, 15); os.kill(1, 19)\n";
    agent.shell(&format!("cat > /tmp/attack.py <<'END'\n{attack}END")).await;
    // Before and after the agent's threads have acted as somebody else.
    for _ in 0..2 {
        let said = agent.shell("python3 /tmp/attack.py").await;
        let refused = ["attach 1", "seize 1", "mem 13", "thread 1", "forged 0"];
        assert!(refused.iter().all(|words| said.contains(words)) && !said.contains("TOOK"), "{said}");
        assert_eq!(agent.shell("echo alive").await, "alive\n", "signals from inside do not reach it");
        act_as_others(&agent).await;
    }
}

/// Small and large work on files, on the thread of the calls and on others, as several users.
async fn act_as_others(agent: &Agent) {
    for user in ["12345", "root", "54321"] {
        let grant = Grant::whole_box().with_user(user.parse().expect("a user"));
        for length in [10, 1_000_000] {
            let path = BoxPath::parse(format!("/tmp/of-{user}-{length}").as_bytes()).expect("a path");
            let content = Body::from_bytes(vec![0; length]);
            agent.client.write(&grant, WriteRequest::to(path), content).await.expect("a write");
        }
    }
}

/// Where nobody is root there is no box root either: the agent's programs are its equals.
async fn programs_of_a_plain_user_are_equals_of_their_agent() {
    let agent = Agent::start();
    assert_eq!(agent.shell("echo alive").await, "alive\n");
}

#[tokio::test]
async fn a_tree_of_another_user_is_killed_whole() {
    let agent = Agent::start();
    if !is_root() {
        return;
    }
    let user = Grant::whole_box().with_user("12345".parse().expect("a user"));
    let script = "(setsid sh -c '(setsid sleep 5121 &) & sleep 5122' >/dev/null 2>&1 &); sleep 5123";
    let run = shell(&*agent.client, &user, script);
    assert!(
        tokio::time::timeout(Duration::from_millis(500), run).await.is_err(),
        "it runs until it is dropped"
    );
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while agent
        .shell("grep -l 'sleep.512[123]' /proc/[0-9]*/cmdline 2>/dev/null | grep -v self | wc -l")
        .await
        .trim()
        != "0"
    {
        assert!(tokio::time::Instant::now() < deadline, "the tree lives on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
