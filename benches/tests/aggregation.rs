//! The program `aggregation` runs: all ways count the same.

use std::process::Command;

#[test]
fn all_ways_agree() {
    let output = Command::new(env!("CARGO_BIN_EXE_aggregation")).args(["--quick", "--repeat", "1"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    // Two shapes of two numbers of keys, with a header and a line of ratios each.
    assert_eq!(text.matches("| ours: SourceCounts").count(), 4, "{text}");
    assert_eq!(text.matches("| ours to the best other").count(), 4, "{text}");
}
