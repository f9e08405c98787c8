//! Whole processes, run and timed by hyperfine.

use std::path::Path;

use serde_json::Value;

use crate::setting::Setting;

/// Seconds of each of so many runs, after two to warm up. `before`: what happens before each, unmeasured.
pub(crate) fn run(setting: &Setting, command: &str, before: Option<&str>, runs: usize) -> Vec<f64> {
    let out = setting.path().join("hyperfine.json");
    let (text, runs) = (out.to_str().expect("UTF-8"), runs.to_string());
    let mut args = vec!["-N", "--style", "none", "--warmup", "2", "--runs", &runs, "--export-json", text];
    if let Some(before) = before {
        args.extend(["--prepare", before]);
    }
    args.push(command);
    let done = setting.command(Path::new("hyperfine"), &args).output().expect("hyperfine runs");
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    let text = std::fs::read(&out).expect("hyperfine's answer");
    let answer: Value = serde_json::from_slice(&text).expect("JSON");
    let times = answer["results"][0]["times"].as_array().expect("the times");
    times.iter().map(|time| time.as_f64().expect("seconds")).collect()
}
