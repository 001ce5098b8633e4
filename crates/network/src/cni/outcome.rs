//! What ADD brought: read, converted between versions, asked for the pod's addresses.
//!
//! | | 0.3.x, 0.4.0 | 1.0.0 | 1.1.0 |
//! | --- | --- | --- | --- |
//! | an address | tells its `version`, `4` or `6` | does not | does not |
//! | an interface | `name`, `mac`, `sandbox` | the same | also `mtu`, `socketPath`, `pciID` |
//! | a route | `dst`, `gw` | the same | also `mtu`, `advmss`, `priority`, `table`, `scope` |
//!
//! *Invariant:* a result that is kept or handed on has been checked: its addresses can be read and lead to interfaces that it has.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::version::Version;

/// A result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome(Map<String, Value>);

impl Outcome {
    /// Reads what a plugin printed, which was spoken to in `version`; a result that names no version is of that.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &[u8], version: Version) -> Result<Self, String> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return Err("it printed nothing".into());
        }
        let mut raw: Map<String, Value> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        match raw.get("cniVersion") {
            None | Some(Value::Null) => {
                raw.insert("cniVersion".into(), version.name().into());
            }
            Some(Value::String(name)) if name.is_empty() => {
                raw.insert("cniVersion".into(), version.name().into());
            }
            Some(Value::String(name)) if Version::parse(name).is_some() => {}
            Some(other) => {
                return Err(format!("its cniVersion is {}", super::failure::shown(&other.to_string())));
            }
        }
        for key in ["interfaces", "ips", "routes"] {
            match raw.get(key) {
                None | Some(Value::Null) => drop(raw.remove(key)),
                Some(Value::Array(all)) if all.iter().all(Value::is_object) => {}
                Some(_) => return Err(format!("{key}: it is no list of objects")),
            }
        }
        let outcome = Outcome(raw);
        let interfaces = outcome.list("interfaces").len() as u64;
        for ip in outcome.list("ips") {
            address(ip)?;
            match ip.get("interface") {
                None | Some(Value::Null) => {}
                Some(index) if index.as_u64().is_some_and(|index| index < interfaces) => {}
                Some(index) => {
                    return Err(format!(
                        "ips: there is no interface {}",
                        super::failure::shown(&index.to_string())
                    ));
                }
            }
        }
        Ok(outcome)
    }

    /// What [`Outcome::value`] gave.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn from_value(value: &Value) -> Result<Self, String> {
        Outcome::parse(value.to_string().as_bytes(), Version::V110)
    }

    /// As it is kept.
    pub(crate) fn value(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// As it is written in `version`.
    pub(crate) fn as_version(&self, version: Version) -> Value {
        let mut raw = self.0.clone();
        raw.insert("cniVersion".into(), version.name().into());
        let each = |raw: &mut Map<String, Value>, key: &str, change: &dyn Fn(&mut Map<String, Value>)| {
            if let Some(Value::Array(all)) = raw.get_mut(key) {
                all.iter_mut().filter_map(Value::as_object_mut).for_each(change);
            }
        };
        each(&mut raw, "ips", &|ip| {
            ip.remove("version");
            if version < Version::V100 {
                let family = match address(ip) {
                    Ok(IpAddr::V6(_)) => "6",
                    _ => "4",
                };
                ip.insert("version".into(), family.into());
            }
        });
        if version < Version::V110 {
            each(&mut raw, "interfaces", &|interface| {
                interface.retain(|key, _| ["name", "mac", "sandbox"].contains(&key.as_str()));
            });
            each(&mut raw, "routes", &|route| route.retain(|key, _| ["dst", "gw"].contains(&key.as_str())));
        }
        Value::Object(raw)
    }

    /// The addresses of the pod's interface, in the order of the result. An address that names no interface is the pod's; one that
    /// names an interface counts if that is this one, and inside.
    pub(crate) fn addresses(&self, ifname: &str) -> Vec<IpAddr> {
        let interfaces = self.list("interfaces");
        let is_pods = |ip: &&Map<String, Value>| {
            let Some(index) = ip.get("interface").and_then(Value::as_u64) else { return true };
            let interface = usize::try_from(index).ok().and_then(|index| interfaces.get(index));
            let text = |key| interface.and_then(|interface| interface.get(key)?.as_str()).unwrap_or_default();
            text("name") == ifname && !text("sandbox").is_empty()
        };
        self.list("ips").into_iter().filter(is_pods).filter_map(|ip| address(ip).ok()).collect()
    }

    fn list(&self, key: &str) -> Vec<&Map<String, Value>> {
        let all = self.0.get(key).and_then(Value::as_array);
        all.into_iter().flatten().filter_map(Value::as_object).collect()
    }
}

/// The address of one of `ips`, `10.1.0.5/16`.
fn address(ip: &Map<String, Value>) -> Result<IpAddr, String> {
    let text = ip.get("address").and_then(Value::as_str).unwrap_or_default();
    let parsed = text.split_once('/').and_then(|(address, length)| {
        let address: IpAddr = address.parse().ok()?;
        let length: u8 = length.parse().ok()?;
        (length <= if address.is_ipv4() { 32 } else { 128 }).then_some(address)
    });
    parsed.ok_or_else(|| format!("ips: \"{}\" is not ADDRESS/LENGTH", super::failure::shown(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"cniVersion":"0.4.0","interfaces":[{"name":"br","mac":"aa"},{"name":"eth0","sandbox":"/run/netns/x"}],
        "ips":[{"version":"6","interface":1,"address":"fd00::5/64"},{"version":"4","interface":1,"address":"10.1.0.5/16","gateway":"10.1.0.1"},
               {"version":"4","interface":0,"address":"10.1.0.1/16"}],"routes":[{"dst":"0.0.0.0/0"}],"dns":{"nameservers":["1.1.1.1"]}}"#;
    const NEW: &str = r#"{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/x","mtu":1400,"pciID":"0","socketPath":"/s"}],
        "ips":[{"interface":0,"address":"10.1.0.5/16"}],"routes":[{"dst":"::/0","gw":"fd00::1","mtu":1,"priority":2,"table":3,"scope":0,"advmss":4}]}"#;

    fn outcome(text: &str) -> Outcome {
        Outcome::parse(text.as_bytes(), Version::V100).unwrap()
    }

    #[test]
    fn an_old_result_becomes_a_new_one_and_old_again() {
        let old = outcome(OLD);
        let new = old.as_version(Version::V110);
        assert_eq!(new["cniVersion"], "1.1.0");
        assert_eq!(new["ips"][0], serde_json::json!({"interface": 1, "address": "fd00::5/64"}));
        assert_eq!(Outcome::from_value(&new).unwrap().as_version(Version::V040), old.value());
    }

    #[test]
    fn a_new_result_loses_what_an_old_plugin_would_not_know() {
        let old = outcome(NEW).as_version(Version::V031);
        assert_eq!(old["interfaces"][0], serde_json::json!({"name": "eth0", "sandbox": "/x"}));
        assert_eq!(old["routes"][0], serde_json::json!({"dst": "::/0", "gw": "fd00::1"}));
        assert_eq!(old["ips"][0]["version"], "4");
        assert_eq!(outcome(NEW).as_version(Version::V110), outcome(NEW).value());
    }

    #[test]
    fn addresses_are_those_of_the_pod_s_interface_in_their_order() {
        let text = |outcome: Outcome| -> Vec<String> {
            outcome.addresses("eth0").iter().map(IpAddr::to_string).collect()
        };
        assert_eq!(text(outcome(OLD)), ["fd00::5", "10.1.0.5"]);
        // IPAM alone: no interface is named.
        assert_eq!(text(outcome(r#"{"ips":[{"address":"10.0.0.2/24"}]}"#)), ["10.0.0.2"]);
        assert!(text(outcome("{}")).is_empty());
    }

    #[test]
    fn what_is_no_result_is_refused() {
        for bad in [
            "",
            "\n",
            "garbage",
            "[]",
            "{\"ips\":[1]}",
            "{\"ips\":{}}",
            "{\"ips\":[{}]}",
            "{\"ips\":[{\"address\":\"10.0.0.1\"}]}",
            "{\"ips\":[{\"address\":\"10.0.0.1/33\"}]}",
            "{\"ips\":[{\"address\":\"10.0.0.1/8\",\"interface\":0}]}",
            "{\"ips\":[{\"address\":\"10.0.0.1/8\",\"interface\":-1}]}",
            "{\"interfaces\":\"x\"}",
            "{\"cniVersion\":\"0.2.0\"}",
            "{\"cniVersion\":7}",
        ] {
            assert!(Outcome::parse(bad.as_bytes(), Version::V100).is_err(), "{bad}");
        }
    }
}
