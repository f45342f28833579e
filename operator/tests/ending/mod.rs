//! How a command of the real program ended.

use std::process::Output;

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The exit code, and the code of the refusal: it stands in the first line on standard error that is the program's own.
pub(crate) fn ending(output: &Output) -> (i32, String) {
    let stderr = text(&output.stderr);
    let refusal = stderr.lines().find_map(|line| line.strip_prefix("slipway: "));
    let first = refusal.unwrap_or(&stderr).split(": ").next().unwrap_or_default().to_owned();
    (output.status.code().unwrap(), first)
}

pub(crate) fn refused(code: &str) -> (i32, String) {
    (3, code.to_owned())
}

pub(crate) fn good() -> (i32, String) {
    (0, String::new())
}
