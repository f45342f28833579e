//! MQTT topics. All begin with `slipway/`; none can begin with `$`, `/` or hold a wildcard, since [names](crate::ids) cannot.

use crate::{FleetName, NodeName};

/// Where a whole fleet hears its notices.
#[must_use]
pub fn fleet_notice(fleet: &FleetName) -> String {
    format!("slipway/{fleet}/notice")
}

/// Where one node hears its notices.
#[must_use]
pub fn node_notice(fleet: &FleetName, node: &NodeName) -> String {
    format!("slipway/{fleet}/node/{node}/notice")
}

/// Where a node puts its reports: QoS 1, not retained.
#[must_use]
pub fn report(fleet: &FleetName, node: &NodeName) -> String {
    format!("slipway/{fleet}/node/{node}/report")
}

/// Where a node's presence stands, retained: `online`, or `offline` from its last will.
#[must_use]
pub fn presence(fleet: &FleetName, node: &NodeName) -> String {
    format!("slipway/{fleet}/node/{node}/presence")
}

/// What an operator subscribes to for every report of a fleet.
#[must_use]
pub fn fleet_reports(fleet: &FleetName) -> String {
    format!("slipway/{fleet}/node/+/report")
}
