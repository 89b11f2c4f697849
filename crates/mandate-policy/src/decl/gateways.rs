//! The gateways that a server workload is assigned to.

use std::collections::BTreeMap;

use mandate_model::GatewayId;

/// The gateways that a server workload is assigned to by name, each with the address at which agents
/// reach it there: `scheme://host[:port][/path]` in its normal form (RFC 3986 §6.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gateways(BTreeMap<GatewayId, String>);

impl Gateways {
    pub(crate) fn new(addresses: BTreeMap<GatewayId, String>) -> Self {
        Self(addresses)
    }

    /// Whether `gateway` serves it: one that it is assigned to; any, where it is assigned to none.
    pub fn serves(&self, gateway: &GatewayId) -> bool {
        self.0.is_empty() || self.is_assigned(gateway)
    }

    /// Whether it is assigned to `gateway` by name. Such a gateway may exchange for agents (A9).
    pub fn is_assigned(&self, gateway: &GatewayId) -> bool {
        self.0.contains_key(gateway)
    }

    /// Whether `target`, in its normal form, is an address of it at `gateway`.
    pub fn is_reached(&self, gateway: &GatewayId, target: &str) -> bool {
        let address = self.0.get(gateway);
        address.is_some_and(|address| is_within(target, address))
    }

    /// Each with its address.
    pub fn iter(&self) -> impl Iterator<Item = (&GatewayId, &str)> {
        self.0.iter().map(|(id, address)| (id, address.as_str()))
    }
}

/// Whether `target` is `address` or below it.
pub(crate) fn is_within(target: &str, address: &str) -> bool {
    let rest = target.strip_prefix(address);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> GatewayId {
        GatewayId::parse(name).unwrap()
    }

    #[test]
    fn an_address_holds_what_is_below_it_and_nothing_beside_it() {
        let address = "https://edge.acme.example/records".to_owned();
        let gateways = Gateways::new([(id("edge"), address)].into());
        let reached = |gateway: &str, target: &str| gateways.is_reached(&id(gateway), target);
        assert!(reached("edge", "https://edge.acme.example/records"));
        assert!(reached("edge", "https://edge.acme.example/records/a/b"));
        for (gateway, target) in [
            ("other", "https://edge.acme.example/records/a"),
            ("edge", "https://edge.acme.example/recordsets"),
            ("edge", "https://edge.acme.example/"),
            ("edge", "http://edge.acme.example/records/a"),
            ("edge", "https://edge.acme.example:8443/records/a"),
        ] {
            assert!(!reached(gateway, target), "{gateway} {target}");
        }
    }

    #[test]
    fn who_is_assigned_to_nobody_is_served_by_all_and_exchanged_for_by_none() {
        let none = Gateways::default();
        assert!(none.serves(&id("edge")) && !none.is_assigned(&id("edge")));
        let one = Gateways::new([(id("edge"), "https://a.example".to_owned())].into());
        assert!(one.serves(&id("edge")) && one.is_assigned(&id("edge")));
        assert!(!one.serves(&id("other")));
    }
}
