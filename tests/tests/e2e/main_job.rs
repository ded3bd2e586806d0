//! The main job.

use anyhow::Result;
use devbox_client::{Command, CreateRequest, ListQuery};
use devbox_tests::Bed;
use devbox_tests::bed::printed;
use devbox_types::devbox::BoxState;
use futures_util::StreamExt as _;

#[tokio::test]
async fn files_go_in_programs_run_results_come_out() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.python().await?;
    assert_eq!(sandbox.devbox().status.state, BoxState::Running);

    let program = "import sys\nnumbers = [int(line) for line in open('numbers.txt')]\n\
                   print('sum', sum(numbers))\nopen('out/result.txt', 'w').write(str(sum(numbers)))\n";
    let numbers: String = (1..=1000).map(|number| format!("{number}\n")).collect();
    let report = sandbox
        .upload_files([
            ("main.py", program.to_owned()),
            ("numbers.txt", numbers),
            ("out/.keep", String::new()),
        ])
        .await?;
    assert_eq!(report.entries, 3);

    let output = sandbox.run(Command::new(["python3", "main.py"])).await?;
    assert_eq!((output.status.code, &output.stdout[..]), (Some(0), &b"sum 500500\n"[..]));
    assert_eq!(sandbox.read("/workspace/out/result.txt").await?, "500500");

    let names: Vec<String> = sandbox.list(".").await?.iter().map(|entry| entry.path.0.to_string()).collect();
    assert_eq!(names, ["/workspace/main.py", "/workspace/numbers.txt", "/workspace/out"]);

    let mut zip = sandbox.download_files(["main.py", "out"]).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = zip.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    assert!(bytes.starts_with(b"PK\x03\x04"), "this is no zip");

    let id = sandbox.id().clone();
    sandbox.destroy().await?;
    assert!(bed.client.list_all(ListQuery::default()).await?.is_empty());
    assert!(devbox_tests::host::processes_of(id.as_str()).is_empty(), "a process of the box is left");
    Ok(())
}

#[tokio::test]
async fn a_language_is_there_and_the_box_says_which() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.python().await?;
    let version = printed(&sandbox, "python3 --version").await?;
    let version = version.strip_prefix("Python ").unwrap_or(&version).to_owned();
    let runtime = sandbox.devbox().runtime.clone().unwrap_or_default();
    assert!(runtime.contains(&version), "{runtime:?} does not say {version}");

    let minor = version.rsplit_once('.').map_or(version.as_str(), |(minor, _)| minor);
    let request = CreateRequest { runtime: Some(format!("python:{minor}")), ..CreateRequest::default() };
    let same = bed.client.create_sandbox(&request).await?;
    assert_eq!(printed(&same, "python3 --version").await?, format!("Python {version}"));
    Ok(())
}

#[tokio::test]
async fn two_boxes_share_nothing() -> Result<()> {
    let bed = Bed::start()?;
    let (one, two) = (bed.sandbox().await?, bed.sandbox().await?);
    one.write("only-here", "1").await?;
    one.as_user(devbox_types::ActingUser::root()).write("/etc/only-here", "1").await?;
    one.as_user(devbox_types::ActingUser::root()).write("/usr/lib/only-here", "1").await?;
    assert!(!two.exists("only-here").await?);
    assert!(!two.exists("/etc/only-here").await?);
    assert!(!two.exists("/usr/lib/only-here").await?);
    assert!(!std::path::Path::new("/usr/lib/only-here").exists(), "a box wrote to the host");
    Ok(())
}

#[tokio::test]
async fn new_files_belong_to_the_default_user() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    sandbox.write("mine", "x").await?;
    sandbox.as_user(devbox_types::ActingUser::root()).write("roots", "x").await?;
    assert_eq!(
        printed(&sandbox, "stat -c '%u %n' mine roots; id -u; id -un; pwd").await?,
        "1000 mine\n0 roots\n1000\nuser\n/workspace"
    );
    assert_eq!(sandbox.stat("mine").await?.owner.as_deref(), Some("user"));
    Ok(())
}
