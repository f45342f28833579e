//! A signed policy that a newer operator wrote: keys that are not known here are left out before it is read, unless it says that
//! they are critical.
//!
//! Only policies from the operator's repository are read so. The operator's tool refuses a key that it does not know, so that a
//! slip of the pen never gets there; so does an agent with a policy file of its own.

use super::file::{AlsoTable, CertificateTable, File, KeysTable, LogTable, ProvenanceTable};
use crate::error::Check;
use slipway_protocol::growth::{CRITICAL, members};
use slipway_protocol::{Refusal, refusal::printable};
use std::collections::BTreeSet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The keys of a table, and which of them are tables with keys of their own.
struct Keys {
    known: &'static [&'static str],
    tables: Vec<(&'static str, Keys)>,
}

impl Keys {
    fn of_policy() -> Self {
        let plain = |known| Self { known, tables: Vec::new() };
        let evidence =
            || vec![("certificate", plain(members::<CertificateTable>())), ("provenance", plain(members::<ProvenanceTable>()))];
        let mut tables = evidence();
        tables.push(("also", Self { known: members::<AlsoTable>(), tables: evidence() }));
        tables.push(("keys", plain(members::<KeysTable>())));
        tables.push(("log", plain(members::<LogTable>())));
        Self { known: members::<File>(), tables }
    }

    /// Takes out what is not known, and notes it by its dotted name: `provenance.source`.
    fn prune(&self, prefix: &str, table: &mut DeTable<'_>, unknown: &mut BTreeSet<String>) {
        let names = table.keys().map(|name| name.get_ref().to_string());
        for name in names.filter(|name| !self.known.contains(&name.as_str())).collect::<Vec<_>>() {
            table.remove(name.as_str());
            unknown.insert(format!("{prefix}{name}"));
        }
        for (name, keys) in &self.tables {
            if let Some(value) = table.get_mut(*name) {
                keys.prune_value(&format!("{prefix}{name}."), value, unknown);
            }
        }
    }

    fn prune_value(&self, prefix: &str, value: &mut Spanned<DeValue<'_>>, unknown: &mut BTreeSet<String>) {
        match value.get_mut() {
            DeValue::Table(table) => self.prune(prefix, table, unknown),
            DeValue::Array(list) => list.iter_mut().for_each(|value| self.prune_value(prefix, value, unknown)),
            _ => {}
        }
    }
}

/// Leaves out what is not known.
///
/// # Errors
/// [`Check::AgentCritical`] when the policy says that this must be understood.
pub(super) fn without_unknown(table: &mut DeTable<'_>) -> Result<(), Refusal> {
    let mut unknown = BTreeSet::new();
    Keys::of_policy().prune("", table, &mut unknown);
    let critical = table.get(CRITICAL).and_then(|value| value.get_ref().as_array());
    let named = critical.into_iter().flatten().filter_map(|name| name.get_ref().as_str());
    match named.into_iter().find(|name| unknown.contains(*name)) {
        Some(name) => {
            Err(Check::AgentCritical.refuse(format_args!("critical key {}", printable(name)), "keys that this agent knows"))
        }
        None => Ok(()),
    }
}
