//! MQTT topics. All begin with `slipway/`.
//!
//! None can begin with `$` or `/` or contain a wildcard, because [names](crate::ids) cannot.

use crate::{FleetName, NodeName};

/// The topic of notices for a whole fleet.
///
/// ```
/// use slipway_protocol::topics;
///
/// let (fleet, node) = ("plant-7".parse()?, "node-1".parse()?);
/// assert_eq!(topics::fleet_notice(&fleet), "slipway/plant-7/notice");
/// assert_eq!(topics::report(&fleet, &node), "slipway/plant-7/node/node-1/report");
/// # Ok::<(), String>(())
/// ```
#[must_use]
pub fn fleet_notice(fleet: &FleetName) -> String {
    format!("slipway/{fleet}/notice")
}

/// The topic of notices for one node.
#[must_use]
pub fn node_notice(fleet: &FleetName, node: &NodeName) -> String {
    format!("slipway/{fleet}/node/{node}/notice")
}

/// The topic of a node's reports: QoS 1, not retained.
#[must_use]
pub fn report(fleet: &FleetName, node: &NodeName) -> String {
    format!("slipway/{fleet}/node/{node}/report")
}

/// The topic of a node's presence, retained: `online`, or `offline` from its last will.
#[must_use]
pub fn presence(fleet: &FleetName, node: &NodeName) -> String {
    format!("slipway/{fleet}/node/{node}/presence")
}

/// The topic filter for all reports of a fleet.
#[must_use]
pub fn fleet_reports(fleet: &FleetName) -> String {
    format!("slipway/{fleet}/node/+/report")
}
