//! Checks docs/CONFIG.md and systemd/agent.toml.example against the types that serde reads.
//!
//! The keys come from the types: a deserializer notes which fields a struct asks for. So the tests fail when a key is added, renamed or
//! removed in only one of the places. (Seen to fail for a field added to `Node`, for a key struck from the reference, for a default of
//! `health.soak` changed in code alone, for a key that needs another than the reference says, and for a key struck from the example.)

use super::Config;
use serde::Deserialize as _;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, Visitor};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

const REFERENCE: &str = include_str!("../../../docs/CONFIG.md");
const EXAMPLE: &str = include_str!("../../../systemd/agent.toml.example");

/// All that is required, and what the examples of other keys stand beside.
const BASE: &str = r#"
[node]
fleet = "factory"
[repository]
root = "/etc/slipway/root.json"
[mqtt]
url = "mqtts://broker.example"
[[component]]
name = "edgecore"
channel = "stable"
adopt = { path = "/usr/local/bin/edgecore", version = "v1.22.0" }
[[component.health.check]]
name = "healthz"
http = "http://127.0.0.1:10350/healthz"
"#;

// ---- what the types say ----------------------------------------------------------------------------

/// What a type asks for at a place.
#[derive(Clone, Debug)]
enum KeyKind {
    Table { array: bool, fields: &'static [&'static str] },
    Value(&'static str),
}

/// Goes along `path` through structs, options and arrays, notes what is asked for there, and ends with an error.
#[derive(Clone, Copy)]
struct Probe<'a> {
    path: &'a [String],
    array: bool,
    found: &'a RefCell<Option<KeyKind>>,
}

impl Probe<'_> {
    fn note<T>(self, found: KeyKind) -> Result<T, Error> {
        *self.found.borrow_mut() = Some(found);
        Err(de::Error::custom("noted"))
    }

    fn value<T>(self, kind: &'static str) -> Result<T, Error> {
        self.note(KeyKind::Value(if self.array { "array" } else { kind }))
    }
}

macro_rules! values {
    ($($method:ident $kind:literal,)+) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            self.value($kind)
        })+
    };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.path.is_empty() { self.note(KeyKind::Table { array: self.array, fields }) } else { visitor.visit_map(self) }
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Probe { array: true, ..self })
    }
    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        self.value("array")
    }
    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, _: V) -> Result<V::Value, Error> {
        self.value("array")
    }
    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], _: V) -> Result<V::Value, Error> {
        self.value("string")
    }
    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, _: V) -> Result<V::Value, Error> {
        self.value("anything")
    }
    values! {
        deserialize_any "anything", deserialize_ignored_any "anything", deserialize_bool "boolean",
        deserialize_i8 "integer", deserialize_i16 "integer", deserialize_i32 "integer", deserialize_i64 "integer",
        deserialize_u8 "integer", deserialize_u16 "integer", deserialize_u32 "integer", deserialize_u64 "integer",
        deserialize_f32 "float", deserialize_f64 "float", deserialize_char "string", deserialize_str "string",
        deserialize_string "string", deserialize_bytes "string", deserialize_byte_buf "string", deserialize_unit "anything",
        deserialize_identifier "string", deserialize_map "table",
    }
}

impl<'de> de::MapAccess<'de> for Probe<'_> {
    type Error = Error;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        seed.deserialize(StrDeserializer::new(&self.path[0])).map(Some)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Probe { path: &self.path[1..], array: false, found: self.found })
    }
}

impl<'de> de::SeqAccess<'de> for Probe<'_> {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        seed.deserialize(*self).map(Some)
    }
}

fn probe(path: &[String]) -> KeyKind {
    let found = RefCell::new(None);
    let _ = Config::deserialize(Probe { path, array: false, found: &found });
    found.into_inner().unwrap_or_else(|| panic!("nothing is asked for at {path:?}"))
}

/// All tables, as their headers are written, and all keys, each with the kind of its value.
fn types() -> (BTreeSet<String>, BTreeMap<String, &'static str>) {
    let (mut tables, mut keys, mut open) = (BTreeSet::new(), BTreeMap::new(), vec![Vec::<String>::new()]);
    while let Some(path) = open.pop() {
        match probe(&path) {
            KeyKind::Value(kind) => {
                keys.insert(path.join("."), kind);
            }
            KeyKind::Table { array, fields } => {
                match array {
                    _ if path.is_empty() => {}
                    true => drop(tables.insert(format!("[[{}]]", path.join(".")))),
                    false => drop(tables.insert(format!("[{}]", path.join(".")))),
                }
                open.extend(fields.iter().map(|field| [path.clone(), vec![(*field).to_owned()]].concat()));
            }
        }
    }
    (tables, keys)
}

// ---- what the reference says -----------------------------------------------------------------------

/// One key's part of the reference.
#[derive(Debug, Default)]
struct Entry {
    bullets: BTreeMap<String, String>,
    prose: String,
}

impl Entry {
    fn bullet(&self, name: &str) -> &str {
        self.bullets.get(name).map(String::as_str).unwrap_or_default()
    }

    /// What stands in backticks there.
    fn codes(&self, name: &str) -> Vec<&str> {
        self.bullet(name).split('`').skip(1).step_by(2).collect()
    }

    fn example(&self) -> Table {
        let [code] = self.codes("Example")[..] else { panic!("one example is wanted: {self:?}") };
        code.parse().unwrap_or_else(|error| panic!("{code}: {error}"))
    }
}

fn reference() -> (BTreeSet<String>, BTreeMap<String, Entry>) {
    let (mut tables, mut keys, mut last) = (BTreeSet::new(), BTreeMap::new(), None);
    for text in REFERENCE.lines() {
        if let Some(heading) = text.strip_prefix("## ") {
            last = None;
            let table = heading.trim_matches('`');
            assert!(!table.starts_with('[') || tables.insert(table.to_owned()), "{table} twice");
        } else if let Some(key) = text.strip_prefix("### ") {
            let key = key.trim_matches('`').to_owned();
            assert!(keys.insert(key.clone(), Entry::default()).is_none(), "{key} twice");
            last = Some(key);
        } else if let Some(entry) = last.as_ref().and_then(|key| keys.get_mut(key)) {
            match text.strip_prefix("- ").and_then(|text| text.split_once(": ")) {
                Some((name, value)) => drop(entry.bullets.insert(name.to_owned(), value.to_owned())),
                None => entry.prose.push_str(text),
            }
        }
    }
    (tables, keys)
}

/// The table that holds a key; of arrays the first element.
fn parent<'a>(config: &'a mut Table, key: &str) -> (&'a mut Table, String) {
    let mut steps: Vec<&str> = key.split('.').collect();
    let last = steps.pop().unwrap().to_owned();
    let mut table = config;
    for step in steps {
        let inner = table.entry(step).or_insert_with(|| Value::Table(Table::new()));
        table = match inner {
            Value::Array(array) => array[0].as_table_mut().unwrap(),
            inner => inner.as_table_mut().unwrap(),
        };
    }
    (table, last)
}

fn set(config: &mut Table, key: &str, value: Value) {
    let (table, last) = parent(config, key);
    table.insert(last, value);
}

fn unset(config: &mut Table, key: &str) {
    let (table, last) = parent(config, key);
    table.remove(&last);
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap()
}

/// A key beside another, by its last name.
fn sibling(key: &str, name: &str) -> String {
    key.rsplit_once('.').map_or_else(|| name.to_owned(), |(table, _)| format!("{table}.{name}"))
}

/// BASE with the example of `key`, what it needs and without what it excludes.
fn with_example(keys: &BTreeMap<String, Entry>, key: &str) -> Table {
    let mut config: Table = BASE.parse().unwrap();
    let entry = &keys[key];
    for other in entry.codes("Excludes") {
        unset(&mut config, &sibling(key, other));
    }
    for other in entry.codes("Needs") {
        let other = sibling(key, other);
        set(&mut config, &other, value(&keys[&other], &other));
    }
    set(&mut config, key, value(entry, key));
    config
}

fn value(entry: &Entry, key: &str) -> Value {
    entry.example().remove(last(key)).unwrap_or_else(|| panic!("the example of {key} does not set it"))
}

fn parse(config: &Table) -> Result<Config, String> {
    Config::parse(&config.to_string()).map_err(|refusal| refusal.to_string())
}

// ---- the tests -------------------------------------------------------------------------------------

#[test]
fn the_reference_has_the_tables_and_keys_of_the_types_and_no_others() {
    let ((tables, keys), (described, entries)) = (types(), reference());
    assert_eq!(described, tables);
    assert_eq!(entries.keys().collect::<Vec<_>>(), keys.keys().collect::<Vec<_>>());
    assert!(keys.len() > 40 && keys.contains_key("component.health.check.http"), "the types were walked");
}

#[test]
fn each_key_is_described_with_type_unit_default_and_example() {
    let ((_, keys), (_, entries)) = (types(), reference());
    for (key, entry) in &entries {
        let written = entry.bullet("Type");
        let kind = match written.split(' ').next().unwrap() {
            kind @ ("boolean" | "integer" | "array" | "table") => kind,
            "string" | "path" | "URL" | "duration" => "string",
            other => panic!("{key}: {other} is not a type"),
        };
        assert_eq!(kind, keys[key], "{key}");
        assert!(kind != "integer" || !entry.bullet("Unit").is_empty(), "{key} has no unit");
        assert!(!entry.prose.trim().is_empty(), "{key}: what does it do?");
        for bullet in entry.bullets.keys() {
            let known = ["Type", "Unit", "Range", "Default", "Example", "Needs", "Excludes"];
            assert!(known.contains(&bullet.as_str()), "{key}: {bullet}");
        }
    }
}

#[test]
fn each_example_is_accepted_and_what_it_needs_or_excludes_is_so() {
    let (_, entries) = reference();
    assert_eq!(parse(&BASE.parse().unwrap()).map(|_| ()), Ok(()));
    for (key, entry) in &entries {
        let config = with_example(&entries, key);
        assert_eq!(parse(&config).map(|_| ()), Ok(()), "{key}");
        for other in entry.codes("Needs") {
            let mut config = config.clone();
            unset(&mut config, &sibling(key, other));
            assert!(parse(&config).is_err(), "{key} does not need {other}");
        }
        for other in entry.codes("Excludes") {
            let (mut config, other) = (config.clone(), sibling(key, other));
            set(&mut config, &other, value(&entries[&other], &other));
            assert!(parse(&config).is_err(), "{key} does not exclude {other}");
        }
    }
}

#[test]
fn each_default_is_what_the_agent_takes() {
    let (_, entries) = reference();
    for (key, entry) in &entries {
        let mut without = with_example(&entries, key);
        unset(&mut without, key);
        for (other, _) in entries.iter().filter(|(_, entry)| entry.codes("Needs").contains(&last(key))) {
            if sibling(other, last(key)) == *key {
                unset(&mut without, other);
            }
        }
        let absent = parse(&without);
        match entry.bullet("Default") {
            default if default.starts_with("required") => {
                assert!(absent.is_err_and(|why| why.contains("missing")), "{key} is not required");
            }
            default if default.starts_with('`') => {
                let [literal] = entry.codes("Default")[..] else { panic!("{key}: {default}") };
                let mut with = without.clone();
                let table: Table = format!("x = {literal}").parse().unwrap();
                set(&mut with, key, table["x"].clone());
                assert_eq!(format!("{:?}", parse(&with).unwrap()), format!("{:?}", absent.unwrap()), "{key}");
            }
            // In words.
            default => assert!(default.len() > 2 && absent.is_ok(), "{key}: {default:?}, {absent:?}"),
        }
    }
}

/// Comments begin with `# `; a key that is commented out with `#`, as in sshd_config(5).
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    EXAMPLE.lines().map(line).collect()
}

#[test]
fn the_example_is_accepted_as_it_is_and_with_every_key_uncommented() {
    for text in [EXAMPLE, &uncommented()] {
        assert_eq!(Config::check(text).map(|_| ()), Ok(()));
    }
    // It would notice.
    assert!(Config::check(&uncommented().replace("fleet =", "flet =")).is_err());
}

#[test]
fn the_example_has_every_key() {
    fn collect(path: &str, value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Table(table) => {
                for (key, value) in table {
                    collect(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value, found);
                }
            }
            Value::Array(array) if array.iter().any(Value::is_table) => {
                array.iter().for_each(|value| collect(path, value, found));
            }
            _ => drop(found.insert(path.to_owned())),
        }
    }
    let mut found = BTreeSet::new();
    collect("", &Value::Table(uncommented().parse().unwrap()), &mut found);
    let missing: Vec<String> =
        types().1.into_keys().filter(|key| !found.iter().any(|f| f == key || f.starts_with(&format!("{key}.")))).collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn lines_of_the_reference_and_the_example_are_short() {
    for line in REFERENCE.lines().chain(EXAMPLE.lines()) {
        assert!(line.chars().count() < 100, "{line}");
    }
}
