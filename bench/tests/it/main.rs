//! The benchmark as a program. What needs boxes is run by the test suites as root.

use std::path::Path;
use std::process::{Command, Output};

fn bench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_devbox-bench"))
}

fn text_of(output: &Output) -> String {
    let (text, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{complaint}");
    text.into_owned()
}

/// Measures the floors, small, with three turns, so that there are blocks to compare.
fn floors(folder: &Path, json: &Path) -> String {
    let mut bench = bench();
    bench.args(["--quick", "--floors", "--turns", "3", "--files", "20", "--folder"]).arg(folder);
    text_of(&bench.arg("--json").arg(json).output().expect("started"))
}

#[test]
fn the_floors_are_measured_verified_compared_and_drawn_anywhere() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let json = folder.path().join("figures.json");
    let text = floors(folder.path(), &json);
    // Two floors with eleven rows each, and the echo with five.
    assert!(text.contains("QUICK") && text.trim_end().ends_with("27 passed, 0 failed"), "{text}");
    let figures = std::fs::read_to_string(&json).expect("the figures");
    assert!(figures.contains("floor, two hops") && figures.contains("\"row\": \"list-stream\""), "{figures}");

    let compared = text_of(&bench().arg("compare").arg(&json).arg(&json).output().expect("started"));
    assert!(compared.contains("hyper echo"), "{compared}");
    assert!(!compared.contains("SLOWER") && !compared.contains("FASTER"), "a run equals itself: {compared}");

    let pictures = folder.path().join("pictures");
    text_of(&bench().arg("chart").arg(&json).arg("-o").arg(&pictures).output().expect("started"));
    for (picture, content) in [("speeds.svg", "floor, one hop"), ("latencies.svg", "polyline")] {
        let text = std::fs::read_to_string(pictures.join(picture)).expect("a picture");
        assert!(text.starts_with("<svg") && text.contains(content), "{text}");
    }
}

#[test]
fn what_is_no_result_is_refused() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("other.json");
    let complaint = || {
        let output = bench().arg("compare").arg(&file).arg(&file).output().expect("started");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(complaint().contains("read"), "{}", complaint());
    std::fs::write(&file, "{}").expect("written");
    assert!(complaint().contains("is no result of this benchmark"), "{}", complaint());
}
