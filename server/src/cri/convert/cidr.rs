//! The pod CIDR: one subnet, or one of each family.
//!
//! *Invariant:* what comes out is a subnet that pods can have addresses of.

use orlop_model::report::Report;

use crate::network::PodCidr;

const FIELD: &str = "runtime_config.network_config.pod_cidr";

/// The subnets in `text`, separated by a comma; none if it is empty: then nothing is to be changed.
///
/// # Errors
/// A report that names the field and the part of it that cannot be.
pub(crate) fn pod_cidr(text: &str) -> Result<Option<PodCidr>, Report> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut cidr = PodCidr::default();
    for part in text.split(',').map(str::trim) {
        let twice =
            || Report::field(FIELD, text, "it has two subnets of one family").advise("give one of each");
        let bad = |error: orlop_network::NotANet| {
            Report::field(FIELD, part, error).advise("as 10.244.1.0/24, or 10.244.1.0/24,fd00:10:244:1::/64")
        };
        if part.contains(':') {
            let before = cidr.v6.replace(part.parse().map_err(bad)?);
            before.map_or(Ok(()), |_| Err(twice()))?;
        } else {
            let before = cidr.v4.replace(part.parse().map_err(bad)?);
            before.map_or(Ok(()), |_| Err(twice()))?;
        }
    }
    Ok(Some(cidr))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_subnet_or_one_of_each_family() {
        assert_eq!(pod_cidr(""), Ok(None));
        for (text, shown) in [
            ("10.244.1.0/24", "10.244.1.0/24"),
            ("fd00:10:244:1::/64", "fd00:10:244:1::/64"),
            ("10.244.1.0/24,fd00:10:244:1::/64", "10.244.1.0/24,fd00:10:244:1::/64"),
            ("fd00:10:244:1::/64, 10.244.1.0/24", "10.244.1.0/24,fd00:10:244:1::/64"),
        ] {
            let cidr = pod_cidr(text).expect(text).expect(text);
            assert_eq!(cidr.to_string(), shown);
        }
    }

    #[test]
    fn what_is_none_is_refused_with_the_part_that_is_wrong() {
        for (text, part) in [
            ("10.244.1.0", "\"10.244.1.0\""),
            ("10.244.1.1/24", "behind the prefix"),
            ("10.244.1.0/33", "room"),
            ("10.244.1.0/24,", "\"\""),
            ("nonsense", "\"nonsense\""),
            ("10.1.0.0/24,10.2.0.0/24", "two subnets of one family"),
            ("fd00::/64,fd01::/64", "two subnets of one family"),
            ("127.0.0.0/8", "cannot be given to pods"),
        ] {
            let report = pod_cidr(text).expect_err(text).to_string();
            assert!(report.contains(FIELD) && report.contains(part), "{text}: {report}");
        }
    }
}
