//! How programs start, and what they find.

use std::os::unix::fs::PermissionsExt;

use devbox_exec::{Command, Directory, ExecError, Identity};
use devbox_types::{Coded as _, ErrorCode};

use crate::support::{command, engine, finish, no_input, run, shell};

#[tokio::test]
async fn output_and_exit_code_come_back() {
    let finished = run(shell("echo out; echo err >&2; exit 7")).await.expect("a run");
    assert_eq!((&finished.stdout[..], &finished.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!((finished.status.code, finished.status.signal), (Some(7), None));
    assert!(!finished.status.timed_out);
}

#[tokio::test]
async fn the_signal_that_killed_it_comes_back() {
    let status = run(shell("kill -SEGV $$")).await.expect("a run").status;
    assert_eq!((status.code, status.signal, status.shell_code()), (None, Some(11), 139));
}

#[tokio::test]
async fn nothing_is_inherited_but_the_three_streams() {
    let script = "ls /proc/self/fd; umask; cat /proc/self/status | grep -E '^Sig(Blk|Ign)'";
    let finished = run(shell(script)).await.expect("a run");
    // `ls` has opened the directory itself as 3.
    let expected = "0\n1\n2\n3\n0022\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    assert_eq!(String::from_utf8_lossy(&finished.stdout), expected);
}

#[tokio::test]
async fn the_environment_is_the_given_one_and_the_cookie() {
    let mut env = command(["env"]);
    env.env.push(("GREETING".to_owned(), "grüß dich\n".to_owned()));
    env.env.push(("DEVBOX_PROCESS".to_owned(), "forged".to_owned()));
    let output = run(env).await.expect("a run").stdout;
    let output = String::from_utf8(output).expect("text");
    assert!(output.contains("GREETING=grüß dich\n\n"), "{output}");
    assert!(output.starts_with("DEVBOX_PROCESS=") && !output.contains("forged"), "{output}");
    assert_eq!(output.matches('=').count(), 3, "{output}");
}

#[tokio::test]
async fn it_starts_in_its_directory() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("inner")).expect("a folder");
    let path = folder.path().join("inner").to_str().expect("text").to_owned();
    let mut pwd = command(["pwd"]);
    pwd.directory.path = path.clone().into_bytes();
    assert_eq!(run(pwd.clone()).await.expect("a run").stdout, format!("{path}\n").into_bytes());
    let below = std::fs::File::open(folder.path()).expect("a folder");
    pwd.directory = Directory {
        path: b"/inner".to_vec(),
        below: Some(std::sync::Arc::new(below.into())),
        optional: false,
    };
    assert_eq!(run(pwd).await.expect("a run").stdout, format!("{path}\n").into_bytes());
}

#[tokio::test]
async fn a_directory_that_cannot_be_entered_is_an_error_unless_optional() {
    let mut pwd = command(["pwd"]);
    pwd.directory.path = b"/no/such/folder".to_vec();
    assert_eq!(run(pwd.clone()).await.expect_err("an error").code(), ErrorCode::NotFound);
    pwd.directory.path = b"/etc/passwd".to_vec();
    assert_eq!(run(pwd.clone()).await.expect_err("an error").code(), ErrorCode::NotADirectory);
    pwd.directory.optional = true;
    assert_eq!(run(pwd).await.expect("a run").stdout, b"/\n");
}

#[tokio::test]
async fn what_cannot_be_executed_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str, mode| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("a mode");
        path.to_str().expect("text").to_owned()
    };
    let no_interpreter = file("no-interpreter", "#!/no/such/interpreter\n", 0o755);
    let cases = [
        ("no-such-program", ErrorCode::NotFound),
        ("/no/such/program", ErrorCode::NotFound),
        (&no_interpreter, ErrorCode::NotFound),
        (&file("not-executable", "#!/bin/sh\n", 0o644), ErrorCode::PermissionDenied),
        (&file("no-format", "echo hello\n", 0o755), ErrorCode::InvalidRequest),
        ("/etc", ErrorCode::PermissionDenied),
    ];
    for (program, code) in cases {
        let error = run(command([program])).await.expect_err(program);
        assert_eq!(error.code(), code, "{program}: {error}");
        assert!(error.to_string().contains(program), "{error}");
    }
    let error = run(command([&no_interpreter])).await.expect_err("no interpreter");
    assert!(matches!(error, ExecError::NoInterpreter { .. }));
}

#[tokio::test]
async fn arguments_beyond_the_limit_of_linux_are_too_large() {
    let long = "x".repeat(200_000);
    assert_eq!(run(command(["true", &long])).await.expect_err("an error").code(), ErrorCode::TooLarge);
}

#[tokio::test]
async fn a_failed_start_leaves_nothing_behind() {
    let engine = engine();
    for _ in 0..50 {
        engine.run(command(["no-such-program"]), no_input()).await.expect_err("an error");
    }
    crate::support::eventually("an empty list", || engine.list().is_empty()).await;
}

#[tokio::test]
async fn root_becomes_another_user_and_keeps_nothing() {
    if !rustix::process::geteuid().is_root() {
        // As anybody else it must be refused, not ignored.
        let identity = Some(Identity { uid: 0, gid: 0, groups: Vec::new() });
        let error = run(Command { identity, ..command(["id"]) }).await.expect_err("an error");
        assert_eq!(error.code(), ErrorCode::PermissionDenied);
        return;
    }
    let identity = Some(Identity { uid: 12345, gid: 12346, groups: vec![12347, 12348] });
    let script =
        "id -u; id -g; id -G; grep -E 'Cap(Prm|Eff|Inh|Amb)' /proc/self/status; echo x > /dev/stdout";
    let finished = run(Command { identity, ..shell(script) }).await.expect("a run");
    let none = "0000000000000000";
    let expected = format!(
        "12345\n12346\n12346 12347 12348\nCapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapAmb:\t{none}\nx\n"
    );
    assert_eq!(String::from_utf8_lossy(&finished.stdout), expected);
    assert!(finished.stderr.is_empty());
}

#[tokio::test]
async fn a_process_is_listed_while_it_runs() {
    let engine = engine();
    let run = engine.run(command(["sleep", "0.1"]), no_input()).await.expect("a run");
    let listed = engine.list();
    assert_eq!((listed.len(), listed[0].id), (1, run.id()));
    assert_eq!(listed[0].argv, ["sleep", "0.1"]);
    finish(run).await;
    assert!(engine.list().is_empty());
}

/// The agent serves the files of all, and takes as many descriptors as it may; a program gets what programs expect.
#[tokio::test]
async fn a_program_is_killed_before_its_engine_and_has_the_usual_descriptors() {
    let all = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: all.maximum, ..all };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("a limit");
    let finished = run(shell("cat /proc/self/oom_score_adj; ulimit -Sn")).await.expect("a run");
    assert_eq!(String::from_utf8_lossy(&finished.stdout), "300\n1024\n");
}

#[tokio::test]
async fn a_missing_directory_is_named_from_the_root() {
    let mut lost = shell("true");
    lost.directory.path = b"nope/there".to_vec();
    let error = run(lost).await.expect_err("no directory");
    assert_eq!(error.to_string(), "cannot enter the working directory \"/nope/there\"");
}
