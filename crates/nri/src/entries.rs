//! Fields with entries: lists and maps, of which a plugin sets or removes single ones.
//!
//! *Invariant:* a removal takes away what the request has and what plugins before have set, and is handed on, so that whoever applies
//! all of it removes it too.

use std::collections::BTreeMap;

use orlop_proto::nri::v1alpha1::Field;

use crate::marked;
use crate::owners::{Conflict, Owners, Place};

/// Whose field it is, and who wants something of it.
pub(crate) struct Claim<'a> {
    pub(crate) owners: &'a mut Owners,
    pub(crate) container: &'a str,
    pub(crate) plugin: &'a str,
}

impl Claim<'_> {
    pub(crate) fn field(&mut self, field: Field) -> Result<(), Conflict> {
        self.owners.claim(Place { container: self.container, field, entry: None }, self.plugin)
    }

    pub(crate) fn entry(&mut self, field: Field, entry: &str) -> Result<(), Conflict> {
        self.owners.claim(Place { container: self.container, field, entry: Some(entry) }, self.plugin)
    }

    pub(crate) fn clear(&mut self, field: Field, entry: Option<&str>) {
        self.owners.clear(Place { container: self.container, field, entry }, self.plugin);
    }

    pub(crate) fn add(&mut self, field: Field) {
        self.owners.add(Place { container: self.container, field, entry: None }, self.plugin);
    }

    /// Takes what a plugin wants of a list into what all want (`all`).
    pub(crate) fn list<T: Clone>(
        &mut self,
        field: Field,
        wanted: &[T],
        key: impl Fn(&T) -> &str,
        all: &mut Vec<T>,
    ) -> Result<(), Conflict> {
        for (entry, removed) in wanted.iter().map(|item| marked(key(item))) {
            if removed {
                self.clear(field, Some(entry));
                all.retain(|item| marked(key(item)).0 != entry);
            }
        }
        let (gone, set): (Vec<&T>, Vec<&T>) = wanted.iter().partition(|item| marked(key(item)).1);
        for item in &set {
            self.entry(field, key(item))?;
        }
        let alone = |item: &&&T| set.iter().all(|other| key(other) != marked(key(item)).0);
        all.extend(gone.iter().filter(alone).map(|item| (*item).clone()));
        // What comes anew has no place of its own beside a removal that was there.
        all.retain(|item| set.iter().all(|other| key(other) != marked(key(item)).0));
        all.extend(set.into_iter().cloned());
        Ok(())
    }

    /// As [`Claim::list`], of a map.
    pub(crate) fn map<V: Clone>(
        &mut self,
        field: Field,
        wanted: &BTreeMap<String, V>,
        all: &mut BTreeMap<String, V>,
    ) -> Result<(), Conflict> {
        for (name, value) in wanted {
            let (entry, removed) = marked(name);
            if removed {
                self.clear(field, Some(entry));
                all.remove(entry);
                all.insert(name.clone(), value.clone());
            }
        }
        for (name, value) in wanted.iter().filter(|(name, _)| !marked(name).1) {
            self.entry(field, name)?;
            all.remove(&format!("-{name}"));
            all.insert(name.clone(), value.clone());
        }
        Ok(())
    }
}

/// What a plugin wants of a list, in the request that the next plugin gets.
pub(crate) fn show_list<T, R>(
    request: &mut Vec<R>,
    wanted: &[T],
    key: impl Fn(&T) -> &str,
    key_there: impl Fn(&R) -> &str,
    show: impl Fn(&T) -> R,
) {
    request.retain(|item| wanted.iter().all(|change| marked(key(change)).0 != key_there(item)));
    request.extend(wanted.iter().filter(|change| !marked(key(change)).1).map(show));
}

/// As [`show_list`], of a map.
pub(crate) fn show_map<V: Clone>(request: &mut BTreeMap<String, V>, wanted: &BTreeMap<String, V>) {
    request.retain(|name, _| !wanted.contains_key(&format!("-{name}")));
    let set = wanted.iter().filter(|(name, _)| !marked(name).1);
    request.extend(set.map(|(name, value)| (name.clone(), value.clone())));
}
