//! Members that agents of `formats-1` (commit 5f87fa3) do not know, kept where those do not look.
//!
//! They refuse a record or a witness with a member that they do not know: they set the database aside, or stop. What was
//! added since is therefore written beside the members that they know, in the same write, and joined with them again when
//! it is read:
//!
//! | | where |
//! |---|---|
//! | witness | in the slot's room, after the payload, which ends where the slot's header says |
//! | record | in the member `beside` of the value that holds generation and record |
//!
//! What an agent of `formats-1` writes has nothing beside it: of what it does not know, it keeps nothing.

use serde_json::{Map, Value};

/// What agents of `formats-1` know of a value. Never to be added to.
#[derive(Debug)]
pub(super) enum Shape {
    /// All of it.
    Any,
    /// These members of an object.
    Members(&'static [(&'static str, Shape)]),
    /// The same of every member of an object or item of an array, whatever its name.
    Each(&'static Shape),
}

use Shape::{Any, Each, Members};

/// `witness`.
pub(super) const WITNESS: Shape = Members(&[
    ("generation", Any),
    ("trusted_time", Any),
    ("tuf", Members(&[("operator", FLOORS), ("sigstore", FLOORS), ("trusted_root", Any)])),
    ("reports", Any),
    ("opening", Any),
    ("alone_since", Any),
    ("components", Each(&REMEMBERED)),
]);
const FLOORS: Shape = Members(&[("root", Any), ("root_digest", Any), ("timestamp", Any), ("snapshot", Any), ("targets", Any)]);
static REMEMBERED: Shape = Members(&[
    ("generation", Any),
    ("epoch", Any),
    ("phase", Any),
    ("committed", KEPT),
    ("previous", KEPT),
    ("active", Any),
    ("condemn", Any),
    ("condemned", Any),
    ("floor", Any),
]);
const KEPT: Shape = Members(&[("v", Any), ("a", Any), ("p", Any), ("s", Any)]);

/// A record, `record/<component>` in the database.
pub(super) const RECORD: Shape = Members(&[
    ("format", Any),
    ("component", Any),
    ("epoch", Any),
    ("state", STATE),
    ("committed", INSTALLED),
    ("previous", INSTALLED),
    ("floor", Any),
    ("condemned", Each(&BLOCKED)),
    ("ring", TRIGGER),
    ("checked", Any),
    ("last", Members(&[("event", Any), ("version", Any), ("refusal", Any), ("at", Any)])),
    ("missed", Members(&[("version", Any), ("shown", Any), ("since", Any), ("dismissed", Any)])),
    ("damage", Members(&[("reason", Any), ("from", Any), ("failures", Any)])),
    ("trouble", Members(&[("artifact", Any), ("reason", Any), ("failures", Any), ("until", Any)])),
]);
/// Of all states together.
const STATE: Shape = Members(&[
    ("name", Any),
    ("ring", TRIGGER),
    ("retry", Members(&[("failures", Any), ("since", Any), ("at", Any)])),
    ("plan", PLAN),
    ("payload", Any),
    ("step", Any),
    ("watch", WATCH),
    ("from", Any),
    ("to", INSTALLED),
    ("reason", Any),
    ("condemn", BLOCKED),
]);
const PLAN: Shape = Members(&[
    ("version", Any),
    ("platform", Any),
    ("artifact", Any),
    ("size", Any),
    ("slot", Any),
    ("source", Any),
    ("floor", Any),
]);
const WATCH: Shape = Members(&[
    ("deadline", Any),
    ("starts", Any),
    ("process", Members(&[("pid", Any), ("restarts", Any)])),
    ("healthy_since", Any),
    ("failures", Any),
    ("ill", Any),
]);
const INSTALLED: Shape = Members(&[("version", Any), ("artifact", Any), ("payload", Any), ("slot", Any), ("adopted", Any)]);
const BLOCKED: Shape = Members(&[("artifact", Any), ("version", Any), ("reason", Any), ("at", Any)]);
const TRIGGER: Shape = Members(&[("by", Any), ("source", Any), ("hint", Any)]);

/// Takes out of `value` what is not in `shape`, and returns it: an object with the same names, indices for those of an array;
/// `None` if everything is known.
pub(super) fn split(value: &mut Value, shape: &Shape) -> Option<Value> {
    let mut beside = Map::new();
    match (shape, value) {
        (Any, _) => {}
        (Members(known), Value::Object(object)) => {
            let names: Vec<String> = object.keys().cloned().collect();
            for name in names {
                let taken = match known.iter().find(|(one, _)| *one == name) {
                    Some((_, shape)) => object.get_mut(&name).and_then(|value| split(value, shape)),
                    None => object.remove(&name),
                };
                beside.extend(taken.map(|taken| (name, taken)));
            }
        }
        (Each(shape), Value::Object(object)) => {
            let parts = object.iter_mut().filter_map(|(name, value)| Some((name.clone(), split(value, shape)?)));
            beside.extend(parts);
        }
        (Each(shape), Value::Array(list)) => {
            let parts = list.iter_mut().enumerate().filter_map(|(n, value)| Some((n.to_string(), split(value, shape)?)));
            beside.extend(parts);
        }
        (Members(_) | Each(_), _) => {}
    }
    (!beside.is_empty()).then_some(Value::Object(beside))
}

/// Puts back what [`split`] took out. What is in `value` stays.
pub(super) fn join(value: &mut Value, beside: Value) {
    let Value::Object(beside) = beside else { return };
    for (name, part) in beside {
        match value {
            Value::Object(object) => match object.get_mut(&name) {
                Some(known) => join(known, part),
                None => {
                    object.insert(name, part);
                }
            },
            Value::Array(list) => {
                if let Some(item) = name.parse::<usize>().ok().and_then(|n| list.get_mut(n)) {
                    join(item, part);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_known_comes_out_and_goes_back() {
        let all = json!({
            "format": 1, "lease": {"until": 7},
            "state": {"name": "probation", "watch": {"starts": 1, "looks": 3}, "plan": {"version": "v1"}},
            "condemned": [{"artifact": "a"}, {"artifact": "b", "scope": "node"}],
            "committed": null, "last": {"refusal": {"anything": 1}},
        });
        let mut known = all.clone();
        let beside = split(&mut known, &RECORD).unwrap();
        assert_eq!(
            beside,
            json!({"lease": {"until": 7}, "state": {"watch": {"looks": 3}}, "condemned": {"1": {"scope": "node"}}})
        );
        assert_eq!(split(&mut known.clone(), &RECORD), None);
        join(&mut known, beside);
        assert_eq!(known, all);

        let mut witness =
            json!({"tuf": {"operator": {"root": 1, "expired": {"targets": 3}}}, "components": {"edgecore": {"x": 1}}});
        let beside = split(&mut witness, &WITNESS).unwrap();
        assert_eq!(beside, json!({"tuf": {"operator": {"expired": {"targets": 3}}}, "components": {"edgecore": {"x": 1}}}));
        assert_eq!(witness, json!({"tuf": {"operator": {"root": 1}}, "components": {"edgecore": {}}}));
    }
}
