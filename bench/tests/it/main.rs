//! The benchmark as a program. What needs boxes is run by the test suites as root.

use std::process::Command;

#[test]
fn the_floors_are_measured_and_verified_anywhere() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let json = folder.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_devbox-bench"))
        .args(["--quick", "--floors", "--folder"])
        .arg(folder.path())
        .arg("--json")
        .arg(&json)
        .output()
        .expect("started");
    let (text, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{complaint}");
    assert!(text.contains("QUICK") && text.trim_end().ends_with("18 passed, 0 failed"), "{text}");
    let figures = std::fs::read_to_string(json).expect("the figures");
    assert!(figures.contains("floor, two hops"), "{figures}");
}
