//! Who set which field.
//!
//! *Invariant:* a field, or an entry of one, has one owner. One that a plugin has removed can be set by that plugin alone.

use orlop_proto::nri::v1alpha1::{CompoundFieldOwners, Field, FieldOwners, OwningPlugins};

use crate::marked;

/// Two plugins want different things of the same field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Conflict {
    /// Who came later.
    pub plugin: String,
    /// Who set it before.
    pub other: String,
    /// Which field.
    pub field: Field,
    /// Which entry of it; empty where it has none.
    pub entry: String,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Conflict { plugin, other, field, entry } = self;
        write!(f, "plugins {other} and {plugin} both set {}", field.as_str_name())?;
        if entry.is_empty() { Ok(()) } else { write!(f, " {entry:?}") }
    }
}

/// Owners of the fields of several containers, as messages have them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Owners(OwningPlugins);

/// A field of a container, or an entry of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) container: &'a str,
    pub(crate) field: Field,
    pub(crate) entry: Option<&'a str>,
}

impl Owners {
    fn of(&mut self, container: &str) -> &mut FieldOwners {
        self.0.owners.entry(container.to_owned()).or_default()
    }

    fn place(&mut self, place: Place<'_>) -> Option<&mut String> {
        let fields = self.of(place.container);
        match place.entry {
            None => fields.simple.get_mut(&(place.field as i32)),
            Some(entry) => fields.compound.get_mut(&(place.field as i32))?.owners.get_mut(entry),
        }
    }

    fn put(&mut self, place: Place<'_>, owner: String) {
        let fields = self.of(place.container);
        match place.entry {
            None => fields.simple.insert(place.field as i32, owner),
            Some(entry) => {
                let compound: &mut CompoundFieldOwners =
                    fields.compound.entry(place.field as i32).or_default();
                compound.owners.insert(entry.to_owned(), owner)
            }
        };
    }

    /// `plugin` sets it.
    pub(crate) fn claim(&mut self, place: Place<'_>, plugin: &str) -> Result<(), Conflict> {
        if let Some(owner) = self.place(place) {
            let (other, removed) = marked(owner);
            if !removed || other != plugin {
                return Err(Conflict {
                    plugin: plugin.to_owned(),
                    other: other.to_owned(),
                    field: place.field,
                    entry: place.entry.unwrap_or_default().to_owned(),
                });
            }
        }
        self.put(place, plugin.to_owned());
        Ok(())
    }

    /// `plugin` removes it, whoever set it.
    pub(crate) fn clear(&mut self, place: Place<'_>, plugin: &str) {
        self.put(place, format!("-{plugin}"));
    }

    /// `plugin` adds to it.
    pub(crate) fn add(&mut self, place: Place<'_>, plugin: &str) {
        let owner = match self.place(place) {
            Some(owner) => format!("{owner},{plugin}"),
            None => plugin.to_owned(),
        };
        self.put(place, owner);
    }

    /// What is known of one container, to be put back by [`Owners::restore`].
    pub(crate) fn saved(&self, container: &str) -> Option<FieldOwners> {
        self.0.owners.get(container).cloned()
    }

    pub(crate) fn restore(&mut self, container: &str, saved: Option<FieldOwners>) {
        match saved {
            Some(saved) => self.0.owners.insert(container.to_owned(), saved),
            None => self.0.owners.remove(container),
        };
    }

    /// As a message.
    #[must_use]
    pub fn message(&self) -> &OwningPlugins {
        &self.0
    }
}

/// Who set a field without entries.
#[must_use]
pub fn simple(owners: &OwningPlugins, container: &str, field: Field) -> Option<String> {
    owners.owners.get(container)?.simple.get(&(field as i32)).cloned()
}

/// Who set the entries of a field: entry and plugin.
#[must_use]
pub fn entries(owners: &OwningPlugins, container: &str, field: Field) -> Vec<(String, String)> {
    let compound = owners.owners.get(container).and_then(|fields| fields.compound.get(&(field as i32)));
    compound.map(|compound| compound.owners.clone().into_iter().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Place<'_> = Place { container: "c", field: Field::MemLimit, entry: None };
    const HOME: Place<'_> = Place { container: "c", field: Field::Env, entry: Some("HOME") };

    #[test]
    fn a_field_has_one_owner_and_the_refusal_names_both() {
        for place in [LIMIT, HOME] {
            let mut owners = Owners::default();
            assert_eq!(owners.claim(place, "10-a"), Ok(()));
            let conflict = owners.claim(place, "20-b").expect_err("taken");
            assert!(conflict.to_string().starts_with("plugins 10-a and 20-b both set "), "{conflict}");
            assert!(owners.claim(Place { container: "d", ..place }, "20-b").is_ok(), "of another container");
        }
        let mut owners = Owners::default();
        owners.claim(HOME, "10-a").expect("free");
        assert!(owners.claim(Place { entry: Some("PATH"), ..HOME }, "20-b").is_ok(), "another entry");
    }

    #[test]
    fn what_is_removed_can_be_set_by_who_removed_it_alone() {
        for place in [LIMIT, HOME] {
            let mut owners = Owners::default();
            owners.claim(place, "10-a").expect("free");
            owners.clear(place, "20-b");
            assert_eq!(owners.claim(place, "30-c").expect_err("taken").other, "20-b");
            assert_eq!(owners.claim(place, "20-b"), Ok(()));
            assert_eq!(owners.claim(place, "10-a").expect_err("taken").other, "20-b");
        }
    }

    #[test]
    fn what_adds_up_has_all_as_owners() {
        let place = Place { field: Field::OciHooks, ..LIMIT };
        let mut owners = Owners::default();
        owners.add(place, "10-a");
        owners.add(place, "20-b");
        assert_eq!(simple(owners.message(), "c", Field::OciHooks).as_deref(), Some("10-a,20-b"));
    }
}
