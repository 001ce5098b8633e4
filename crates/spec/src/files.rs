//! What `/etc/hosts` and `/etc/resolv.conf` of a pod say, where nobody else writes them.
//!
//! *Invariant:* nothing that is asked for can start a line of its own.

use std::fmt::Write as _;
use std::net::IpAddr;

use orlop_model::pod::Dns;

/// `/etc/resolv.conf` of a pod, resolv.conf(5). An entry that holds spaces counts as the words between them.
#[must_use]
pub fn resolv_conf(dns: &Dns) -> String {
    let words = |entries: &[String]| -> Vec<String> {
        entries
            .iter()
            .flat_map(|entry| entry.split_whitespace())
            .map(|word| word.replace(char::is_control, ""))
            .collect()
    };
    let mut text = String::new();
    for server in words(&dns.servers) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "nameserver {server}");
    }
    for (keyword, entries) in [("search", words(&dns.searches)), ("options", words(&dns.options))] {
        if !entries.is_empty() {
            let _ = writeln!(text, "{keyword} {}", entries.join(" "));
        }
    }
    text
}

/// `/etc/hosts` of a pod, hosts(5): the loopback names, and the pod's own name at each of its addresses.
#[must_use]
pub fn hosts(hostname: &str, addresses: &[IpAddr]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for address in addresses {
        let _ = writeln!(text, "{address}\t{hostname}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_cannot_start_a_line() {
        let dns = Dns { searches: vec!["a\nnameserver 6.6.6.6".into()], ..Dns::default() };
        assert_eq!(resolv_conf(&dns), "search a nameserver 6.6.6.6\n");
    }

    #[test]
    fn all_three_kinds_are_written() {
        let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect();
        let dns = Dns {
            servers: words(&["10.0.0.10", "fd00::10"]),
            searches: words(&["a.svc", "svc"]),
            options: words(&["ndots:5"]),
        };
        assert_eq!(
            resolv_conf(&dns),
            "nameserver 10.0.0.10\nnameserver fd00::10\nsearch a.svc svc\noptions ndots:5\n"
        );
        assert_eq!(resolv_conf(&Dns::default()), "");
    }

    #[test]
    fn a_pod_finds_itself_at_all_its_addresses() {
        let text = hosts("web", &["10.88.0.2".parse().expect("v4"), "fd00::2".parse().expect("v6")]);
        assert!(text.ends_with("10.88.0.2\tweb\nfd00::2\tweb\n"));
    }
}
