//! Evidence of how a component ended: its exit status and the log lines that say why.

use slipway_protocol::refusal::printable;

/// Log lines that are shown at most.
const LINES: usize = 20;
/// Log lines that are searched for the beginning of a panic: the stack traces of a Go program push it out of the last twenty.
pub(super) const SEARCHED: usize = 400;
/// Bytes of a log that are read for that.
pub(super) const LOG_TAIL: u64 = 64 * 1024;

/// For a person: one line each, within [`super::EVIDENCE_LIMIT`].
pub(super) fn long(status: &str, log: &str) -> String {
    compose(status, log, super::EVIDENCE_LIMIT, "\n")
}

/// For a refusal's value: one line, within what a refusal keeps.
pub(super) fn short(status: &str, log: &str) -> String {
    compose(status, log, slipway_protocol::Refusal::VALUE_LIMIT, " | ")
}

/// The status, then the lines from the last panic on, or else as many of the last lines as fit.
fn compose(status: &str, log: &str, limit: usize, separator: &str) -> String {
    let mut text = printable(status);
    let lines: Vec<String> = log.lines().filter(|line| !line.trim().is_empty()).map(|line| printable(line.trim_end())).collect();
    let fits = |room: &mut usize, line: &String| match room.checked_sub(line.len().saturating_add(separator.len())) {
        Some(left) => {
            *room = left;
            true
        }
        None => false,
    };
    let mut room = limit.saturating_sub(text.len());
    let searched = lines.len().saturating_sub(SEARCHED);
    let panic =
        lines.iter().skip(searched).rposition(|line| ["panic: ", "fatal error: "].iter().any(|start| line.starts_with(start)));
    let shown: Vec<&String> = match panic {
        Some(at) => lines.iter().skip(searched.saturating_add(at)).take(LINES).take_while(|line| fits(&mut room, line)).collect(),
        None => {
            let mut last: Vec<_> = lines.iter().rev().take(LINES).take_while(|line| fits(&mut room, line)).collect();
            last.reverse();
            last
        }
    };
    for line in shown {
        text.push_str(separator);
        text.push_str(line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_that_fit_and_nothing_that_draws() {
        assert_eq!(short("exit status 1", "one\n\n\u{1b}[31mtwo\n"), "exit status 1 | one | \u{fffd}[31mtwo");
        let many: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let text = long("gone", &many);
        assert_eq!(text.lines().count(), LINES + 1);
        assert!(text.starts_with("gone\nline 80\n") && text.ends_with("line 99"));
    }

    #[test]
    fn a_flood_stays_bounded_and_keeps_the_newest() {
        let flood: String = (0..100).map(|n| format!("{n} {}\n", "x".repeat(400))).collect();
        let text = long("gone", &flood);
        assert!(text.len() <= super::super::EVIDENCE_LIMIT && text.contains("\n99 "));
        let line = long("gone", &"y".repeat(1_000_000));
        assert!(line.len() < 600);
        let refused = short("gone", &flood);
        assert!(refused.len() <= slipway_protocol::Refusal::VALUE_LIMIT && refused.contains("99 "));
    }

    #[test]
    fn a_panic_is_shown_rather_than_the_end_of_its_stack_trace() {
        let trace: String = (0..200).map(|n| format!("goroutine {n} [running]:\n")).collect();
        let text = short("exit status 2", &format!("starting\npanic: certificate has CN kubeedge.io\n{trace}"));
        assert!(text.starts_with("exit status 2 | panic: certificate has CN kubeedge.io | goroutine 0"), "{text}");
    }
}
