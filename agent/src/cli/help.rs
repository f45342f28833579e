//! What each command is for and which options it takes: the texts of `--help`, and what is refused as wrong usage.

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
    ("component", "    --component C", "Which component; needed only where several are configured"),
    ("json", "    --json", "For machines: JSON, of history and of what happens one object a line"),
    ("limit", "-n, --limit N", "At most N reports [default: 20]"),
    ("artifact", "    --artifact D", "Only the artifact with this SHA-256"),
    ("freeze", "    --freeze", "Only dismiss the possible freeze that `status` shows"),
    ("expiry", "    --expiry", "Only judge anew which of the operator's metadata has expired"),
    ("watch", "    --watch", "Go on until the update of the agent is over: what the restore unit does"),
    ("state", "    --state DIR", "The agent's state [default: /var/lib/slipway]"),
    ("bundle", "    --bundle FILE", "The Sigstore bundle [default: FILE.sigstore.json]"),
    ("policy", "    --policy FILE", "The policy [default: the component's, from the configuration]"),
    ("trusted-root", "    --trusted-root FILE", "Sigstore's trust root [default: the public-good one]"),
    ("name", "    --name NAME", "The artifact's name in the provenance [default: the file's]"),
    ("release-version", "    --release-version V", "The version that a policy's tag is bound to"),
    ("log-format", "    --log-format F", "Log lines on stderr: text or json [default: text]"),
    ("help", "-h, --help", "This; after a command, what that command takes"),
];

/// Taken by every command.
const COMMON: [&str; 3] = ["config", "log-format", "help"];

const AGENT_MEANWHILE: &str = "\
Where the service runs, it is asked, and what happens is shown until it is over. Where none runs, this command is the agent for as long
as it takes. What it started goes on running when it ends: a component without systemd is found again by the agent that runs next.
";

const UNBLOCK: &str = "\
Condemned artifacts may be installed again, and what downloads cost so far no longer counts. Then run `slipway-agent check`.
What was judged expired stays refused until the operator's next `slipway refresh`. Where that cannot come, on a device that takes offline
bundles alone and had a wrong clock, set the clock right and clear it with `--expiry`.
`slipway-agent forgive` is the same command.
";

const CONFIG_CHECK: &str = "\
Shows each mistake as FILE:LINE: CODE: what is wrong. Judges the text alone: that the files which it names are there, and that servers
answer, is found out at the start of the service. Needs no privileges and no running agent.
";

pub(super) const COMMANDS: [Command; 11] = [
    Command { name: "run", alias: None, operand: "", summary: "Run the service", more: "", options: &[] },
    Command {
        name: "status",
        alias: None,
        operand: "",
        summary: "What runs here, what is under way, how the last attempt ended",
        more: "Changes nothing.\n",
        options: &["component", "json"],
    },
    Command {
        name: "check",
        alias: None,
        operand: "",
        summary: "Look for a release now",
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
        summary: "Go back to the previous release, or call a running update off",
        more: "What is left is condemned here, until `slipway-agent unblock`.\n",
        options: &["component", "json"],
    },
    Command {
        name: "history",
        alias: None,
        operand: "",
        summary: "Past reports, newest first",
        more: "Changes nothing.\n",
        options: &["component", "limit", "json"],
    },
    Command {
        name: "unblock",
        alias: Some("forgive"),
        operand: "",
        summary: "Let a release that failed or cost too much here be tried again",
        more: UNBLOCK,
        options: &["component", "artifact", "freeze", "expiry", "json"],
    },
    Command {
        name: "trust",
        alias: None,
        operand: "",
        summary: "Whose word counts here: roots, versions, expiries, the time, what is stale",
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
        summary: "Put the last committed agent back if a new one has failed; otherwise do nothing",
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
Exit codes: 0 done; 1 failed: a file to work on that cannot be read, or not now; 2 wrong usage; 3 refused, with a code such as
SLW-V-POLICY-SOURCE, or SLW-A-STATE-NEWER for a newer agent's state, which is left alone; 4 rolled back.
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
    out.push_str("  -V, --version        The version\n\n`slipway-agent COMMAND --help` says what a command takes.\n\n");
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
