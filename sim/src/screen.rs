//! Terminal output: headings, lines, and a line that shows what the demo waits for.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// Long lines are folded at this width, where they have a space.
const WIDTH: usize = 110;
/// Where values begin in a refusal's lines.
const VALUE: usize = 12;

/// How a piece of text is shown where there is colour.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    Bold,
    Dim,
    Good,
    Bad,
}

/// Standard output. Failing to write is no failure: the story is about what happens, not about who watches.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: bool,
    colour: bool,
    waiting: bool,
}

impl Screen {
    /// In-place updates and colour only on a terminal; no colour with `NO_COLOR`.
    pub(crate) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { terminal, colour, waiting: false }
    }

    /// A piece of text with its style.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Good => "32",
            Style::Bad => "31",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A tick or a cross.
    pub(crate) fn tick(&self, well: bool) -> String {
        if well { self.paint(Style::Good, "✓") } else { self.paint(Style::Bad, "✗") }
    }

    /// A line that stays.
    pub(crate) fn line(&mut self, text: &str) {
        self.forget();
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// A line of `  label   value`, folded below its value where it is too long.
    pub(crate) fn wrapped(&mut self, indent: &str, text: &str) {
        for line in fold(text, WIDTH.saturating_sub(indent.len())) {
            self.line(&format!("{indent}{line}"));
        }
    }

    /// A heading and what it is about.
    pub(crate) fn heading(&mut self, title: &str, about: &[&str]) {
        let title = self.paint(Style::Bold, title);
        self.line("");
        self.line(&title);
        for text in about {
            let text = format!("   {}", self.paint(Style::Dim, text));
            self.line(&text);
        }
    }

    /// Something small happened: a line of its own only where nothing can be shown in place.
    pub(crate) fn event(&mut self, text: &str) {
        if !self.terminal {
            self.line(text);
        }
    }

    /// Shows what is being waited for, in place of what was shown so before.
    pub(crate) fn waiting(&mut self, text: &str) {
        if self.terminal {
            // Not wrapped: a line that became two could not be updated in place.
            let text = self.paint(Style::Dim, text);
            let _ = write!(std::io::stdout(), "\r\x1b[2K\x1b[?7l{text}\x1b[?7h");
            let _ = std::io::stdout().flush();
            self.waiting = true;
        }
    }

    fn forget(&mut self) {
        if std::mem::take(&mut self.waiting) {
            let _ = write!(std::io::stdout(), "\r\x1b[2K");
        }
    }
}

/// Folds at spaces; what does not fit goes below the value.
fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_inclusive(' ') {
        let full = line.chars().count() + word.trim_end().chars().count() > width;
        if full && line.trim().len() > VALUE {
            lines.push(std::mem::replace(&mut line, " ".repeat(VALUE)));
        }
        line.push_str(word);
    }
    lines.push(line);
    lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
}

/// `3.1 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// `16.2 MB`.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

/// Cells in columns as wide as their widest, two spaces apart.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    slipway_agent::text::columns(rows).lines().map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(seconds(Duration::from_millis(3149)), "3.1 s");
        assert_eq!(megabytes(16_294_967), "16.2 MB");
        assert_eq!(megabytes(99_999), "0.0 MB");
    }

    #[test]
    fn long_values_are_folded_below_themselves() {
        assert_eq!(fold("  found     short", 20), ["  found     short"]);
        assert_eq!(fold("  found     one two three four", 20), ["  found     one two", "            three four"]);
        let long = "x".repeat(30);
        assert_eq!(fold(&format!("  found     {long} y"), 20), [format!("  found     {long}"), "            y".to_owned()]);
        assert_eq!(fold("", 20), [""]);
    }

    #[test]
    fn no_escapes_without_a_terminal() {
        let mut screen = Screen { terminal: false, colour: false, waiting: false };
        assert_eq!(screen.paint(Style::Bad, "no"), "no");
        screen.waiting("nothing is written");
        assert!(!screen.waiting);
        let coloured = Screen { terminal: true, colour: true, waiting: false };
        assert_eq!(coloured.paint(Style::Good, "ok"), "\x1b[32mok\x1b[0m");
    }
}
