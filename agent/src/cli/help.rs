//! The table of commands and options, from which `--help` and usage errors are made.

use std::fmt::Write;

/// One command.
pub(super) struct Command {
    pub(super) name: &'static str,
    /// What it was called before, which still works.
    alias: Option<&'static str>,
    /// What follows its name.
    operand: &'static str,
    summary: &'static str,
    /// What else there is to know.
    more: &'static str,
    options: &'static [&'static str],
}

/// An option: its long name, how it is written, what it does.
type Opt = (&'static str, &'static str, &'static str);

const OPTIONS: [Opt; 16] = [
    ("config", "-c, --config FILE", "Configuration [default: /etc/slipway/agent.toml]"),
    ("component", "    --component C", "Component; required if several are configured"),
    ("json", "    --json", "Print JSON; history and progress as one object per line"),
    ("limit", "-n, --limit N", "Show at most N reports [default: 20]"),
    ("artifact", "    --artifact D", "Only the artifact with this SHA-256"),
    ("freeze", "    --freeze", "Only dismiss the freeze warning that `status` shows"),
    ("expiry", "    --expiry", "Only clear the recorded expiry of the operator's metadata"),
    ("watch", "    --watch", "Watch until the agent's update has ended; the restore unit uses it"),
    ("state", "    --state DIR", "State directory [default: /var/lib/slipway]"),
    ("bundle", "    --bundle FILE", "Sigstore bundle [default: FILE.sigstore.json]"),
    ("policy", "    --policy FILE", "Policy [default: the component's, from the configuration]"),
    ("trusted-root", "    --trusted-root FILE", "Sigstore's trusted root [default: the public-good instance's]"),
    ("name", "    --name NAME", "Name of the artifact in the provenance [default: the file's]"),
    ("release-version", "    --release-version V", "Version to compare with the policy's tag"),
    ("log-format", "    --log-format F", "Format of log lines on stderr: text or json [default: text]"),
    ("help", "-h, --help", "Print help; after a command, help for that command"),
];

/// Taken by every command.
const COMMON: [&str; 3] = ["config", "log-format", "help"];

const AGENT_MEANWHILE: &str = "\
If the service runs, the command sends it the request and shows the progress until the work has ended. Otherwise the command does the
work itself. Components that it starts keep running after it ends; the next agent finds a component without systemd again.
";

const UNBLOCK: &str = "\
Lets blocked artifacts be installed again, and resets the count of downloaded bytes. Then run `slipway-agent check`.
Expired metadata stays refused until the operator's next `slipway refresh`. On a device that only uses offline bundles and had a wrong
clock, correct the clock and clear the recorded expiry with `--expiry`.
`slipway-agent forgive` is the same command.
";

const CONFIG_CHECK: &str = "\
Shows each mistake as `FILE:LINE: CODE: message`. Checks the text only; whether the named files exist and servers answer is checked when
the service starts. Needs no privileges and no running agent.
";

pub(super) const COMMANDS: [Command; 11] = [
    Command { name: "run", alias: None, operand: "", summary: "Run the service", more: "", options: &[] },
    Command {
        name: "status",
        alias: None,
        operand: "",
        summary: "Show what runs here, updates in progress and the last result",
        more: "Changes nothing.\n",
        options: &["component", "json"],
    },
    Command {
        name: "check",
        alias: None,
        operand: "",
        summary: "Check for a release now",
        more: AGENT_MEANWHILE,
        options: &["component", "json"],
    },
    Command {
        name: "install",
        alias: None,
        operand: "FILE",
        summary: "Install from an offline bundle",
        more: AGENT_MEANWHILE,
        options: &["component", "json"],
    },
    Command {
        name: "rollback",
        alias: None,
        operand: "",
        summary: "Go back to the previous release, or cancel an update in progress",
        more: "Blocks the release that it goes back from, until `slipway-agent unblock`.\n",
        options: &["component", "json"],
    },
    Command {
        name: "history",
        alias: None,
        operand: "",
        summary: "Show past reports, newest first",
        more: "Changes nothing.\n",
        options: &["component", "limit", "json"],
    },
    Command {
        name: "unblock",
        alias: Some("forgive"),
        operand: "",
        summary: "Allow another attempt at a release that failed here or exceeded its budget",
        more: UNBLOCK,
        options: &["component", "artifact", "freeze", "expiry", "json"],
    },
    Command {
        name: "trust",
        alias: None,
        operand: "",
        summary: "Show trust state: roots, metadata versions, expiry, trusted time",
        more: "Changes nothing.\n",
        options: &["component", "json"],
    },
    Command {
        name: "config",
        alias: None,
        operand: "check [FILE]",
        summary: "Check a configuration file; changes nothing",
        more: CONFIG_CHECK,
        options: &[],
    },
    Command {
        name: "restore",
        alias: None,
        operand: "",
        summary: "Restore the last committed agent if a new one has failed",
        more: "",
        options: &["watch", "state"],
    },
    Command {
        name: "verify",
        alias: None,
        operand: "FILE|DIGEST",
        summary: "Verify an artifact's provenance; installs nothing",
        more: "",
        options: &["component", "bundle", "policy", "trusted-root", "name", "release-version", "json"],
    },
];

const CODES: &str = "\
Exit codes: 0 done; 1 failed: a file cannot be read, or the work has to be retried later; 2 wrong usage; 3 refused, with a code such as
SLW-V-POLICY-SOURCE, or SLW-A-STATE-NEWER for state of a newer agent, which stays unchanged; 4 rolled back.
";

impl Command {
    pub(super) fn of(name: &str) -> Option<&'static Self> {
        COMMANDS.iter().find(|command| command.name == name || command.alias == Some(name))
    }

    pub(super) fn takes(&self, option: &str) -> bool {
        COMMON.contains(&option) || self.options.contains(&option)
    }

    pub(super) const fn takes_file(&self) -> bool {
        !self.operand.is_empty()
    }

    /// Whether a word of its own follows its name.
    pub(super) fn takes_verb(&self) -> bool {
        self.name == "config"
    }

    fn usage(&self) -> String {
        if self.takes_file() { format!("{} {}", self.name, self.operand) } else { self.name.to_owned() }
    }

    pub(super) fn help(&self) -> String {
        let more = if self.more.is_empty() { String::new() } else { format!("\n{}", self.more) };
        let mut out = format!("{}\n{more}\nUsage: slipway-agent {} [OPTIONS]\n\nOptions:\n", self.summary, self.usage());
        for (_, written, what) in OPTIONS.iter().filter(|(name, ..)| self.takes(name)) {
            let _ = writeln!(out, "  {written:<23}  {what}");
        }
        out + "\n" + CODES
    }
}

/// `slipway-agent --help`.
pub(super) fn overview() -> String {
    let mut out = "\
Keeps what runs on this node up to date, and installs nothing whose build it cannot prove.

Usage: slipway-agent COMMAND [OPTIONS]

Commands:
"
    .to_owned();
    for command in &COMMANDS {
        let _ = writeln!(out, "  {:<19}  {}", command.usage(), command.summary);
    }
    out.push_str("\nOptions:\n");
    for (_, written, what) in OPTIONS.iter().filter(|(name, ..)| COMMON.contains(name)) {
        let _ = writeln!(out, "  {written:<19}  {what}");
    }
    out.push_str(
        "  -V, --version        Print the version\n\nRun `slipway-agent COMMAND --help` for the options of a command.\n\n",
    );
    out + CODES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_taken_by_some_command_and_has_a_text() {
        for (name, written, what) in OPTIONS {
            assert!(COMMANDS.iter().any(|command| command.takes(name)) && written.contains(name) && !what.is_empty(), "{name}");
        }
        for option in COMMANDS.iter().flat_map(|command| command.options) {
            assert!(OPTIONS.iter().any(|(name, ..)| name == option), "{option}");
        }
    }

    #[test]
    fn a_commands_help_is_its_own() {
        let unblock = Command::of("unblock").unwrap().help();
        assert!(unblock.contains("--freeze") && unblock.contains("--expiry") && !unblock.contains("--trusted-root"));
        assert_eq!(Command::of("forgive").unwrap().help(), unblock, "the old word still works");
        assert!(overview().contains("verify FILE|DIGEST") && !overview().contains("--freeze"));
        assert!(COMMANDS.iter().all(|command| command.help().lines().all(|line| line.len() <= 140)));
    }
}
