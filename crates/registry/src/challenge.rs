//! What a registry asks for in `WWW-Authenticate` (RFC 9110, 11.6.1).
//!
//! *Invariant:* pure. What cannot be read is no challenge.

use std::collections::HashMap;

/// What a registry wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Name and password.
    Basic,
    /// A token from the place `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The challenges of one header, in the order in which they stand there. Schemes that we do not speak are left out.
pub(crate) fn challenges(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let Some((scheme, after)) = token(rest) else { break };
        let (parameters, after) = parameters(after.trim_start());
        let mut parameters = parameters;
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => found.push(Challenge::Basic),
            "bearer" => {
                if let Some(realm) = parameters.remove("realm") {
                    let (service, scope) = (parameters.remove("service"), parameters.remove("scope"));
                    found.push(Challenge::Bearer { realm, service, scope });
                }
            }
            _ => {}
        }
        rest = after.trim_start_matches([',', ' ', '\t']);
    }
    found
}

/// `name=value` pairs until another scheme begins, which is a word without `=` behind it.
fn parameters(mut rest: &str) -> (HashMap<String, String>, &str) {
    let mut found = HashMap::new();
    loop {
        let start = rest.trim_start_matches([',', ' ', '\t']);
        let Some((name, after)) = token(start) else { return (found, start) };
        let Some(after) = after.trim_start().strip_prefix('=') else { return (found, start) };
        let Some((value, after)) = value(after.trim_start()) else { return (found, "") };
        found.entry(name.to_ascii_lowercase()).or_insert(value);
        rest = after;
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let inside = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !inside(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        }
    }

    #[test]
    fn challenges_in_all_their_forms() {
        let docker = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull""#;
        let full =
            bearer("https://auth.example/token", Some("registry.example"), Some("repository:a/b:pull"));
        for (header, expected) in [
            (docker, vec![full.clone()]),
            (r#"Basic realm="x, Bearer realm=y""#, vec![Challenge::Basic]),
            ("Basic", vec![Challenge::Basic]),
            (r#"bearer REALM="a\"b" , service = c"#, vec![bearer("a\"b", Some("c"), None)]),
            (
                r#"Negotiate, Basic realm="x", Bearer realm="r""#,
                vec![Challenge::Basic, bearer("r", None, None)],
            ),
            ("Bearer", vec![]),
            (r#"Bearer realm="never ends"#, vec![]),
            ("", vec![]),
            ("===", vec![]),
        ] {
            assert_eq!(challenges(header), expected, "{header}");
        }
    }
}
