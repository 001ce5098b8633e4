//! Which pod has which address: one file an address, named by it, that holds its owner.
//!
//! A pod's IPv6 address is the twin of its IPv4 address, as far behind the first of its subnet; so one file holds both, and there
//! is no half of a lease.
//!
//! *Invariant:* an address has at most one owner, an owner at most one lease, whatever is killed when.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::address::{Mac, Net4, Net6};
use crate::error::Error;
use crate::record;

/// The addresses of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address, where the network has them.
    pub v6: Option<Ipv6Addr>,
}

impl Lease {
    /// The hardware address that goes with it.
    #[must_use]
    pub fn mac(&self) -> Mac {
        Mac::of(self.v4)
    }
}

/// Where the name of the address that was leased last stands, beside the directory of leases.
const LAST: &str = "last-lease";

/// All leases of one network.
#[derive(Debug)]
pub(crate) struct Leases {
    state_dir: PathBuf,
    directory: PathBuf,
    subnet: Net4,
    subnet6: Option<Net6>,
    /// What the files say; none until they were read.
    table: Mutex<Option<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    by_address: BTreeMap<Ipv4Addr, (String, Option<Ipv6Addr>)>,
    by_owner: HashMap<String, Ipv4Addr>,
    /// How far behind the subnet's first the address lies that was leased last.
    last: u32,
}

impl Table {
    fn insert(&mut self, owner: &str, lease: Lease) {
        self.by_address.insert(lease.v4, (owner.to_owned(), lease.v6));
        self.by_owner.insert(owner.to_owned(), lease.v4);
    }

    fn of(&self, owner: &str) -> Option<Lease> {
        let v4 = *self.by_owner.get(owner)?;
        self.by_address.get(&v4).map(|(_, v6)| Lease { v4, v6: *v6 })
    }
}

impl Leases {
    pub(crate) fn new(state_dir: PathBuf, subnet: Net4, subnet6: Option<Net6>) -> Self {
        Leases { directory: state_dir.join("leases"), state_dir, subnet, subnet6, table: Mutex::new(None) }
    }

    /// The owner's lease: the one that it has, or a new one.
    pub(crate) fn lease(&self, owner: &str) -> Result<Lease, Error> {
        record::check_owner(owner)?;
        let mut guard = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.read(&mut guard)?;
        if let Some(lease) = table.of(owner) {
            return Ok(lease);
        }
        let count = self.subnet.leasable();
        // The next that is free behind the last one leased, so that an address rests before somebody else has it.
        for step in 0..count {
            let offset = 2 + (table.last.saturating_sub(1) + step) % count;
            let lease = self.at(offset);
            if table.by_address.contains_key(&lease.v4) {
                continue;
            }
            let v6 = lease.v6.map(|v6| v6.to_string()).unwrap_or_default();
            if record::put_new(&self.directory, &lease.v4.to_string(), &format!("{owner}\n{v6}\n"))? {
                table.insert(owner, lease);
                table.last = offset;
                record::put(&self.state_dir, LAST, &format!("{}\n", lease.v4))?;
                return Ok(lease);
            }
            // Somebody else wrote here. Whose it is, the next reading of the files tells; free it is not.
            table.by_address.insert(lease.v4, (String::new(), None));
        }
        Err(Error::Exhausted { subnet: self.subnet.to_string(), leased: table.by_address.len() })
    }

    /// Ends the owner's lease, if it has one.
    pub(crate) fn release(&self, owner: &str) -> Result<(), Error> {
        record::check_owner(owner)?;
        let mut guard = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.read(&mut guard)?;
        if let Some(v4) = table.by_owner.get(owner).copied() {
            record::remove(&self.directory, &v4.to_string())?;
            table.by_owner.remove(owner);
            table.by_address.remove(&v4);
        }
        Ok(())
    }

    /// All leases with their owners, by address. An owner that cannot be read is empty.
    pub(crate) fn all(&self) -> Result<Vec<(String, Lease)>, Error> {
        let mut guard = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.read(&mut guard)?;
        Ok(table
            .by_address
            .iter()
            .map(|(v4, (owner, v6))| (owner.clone(), Lease { v4: *v4, v6: *v6 }))
            .collect())
    }

    fn at(&self, offset: u32) -> Lease {
        Lease { v4: self.subnet.at(offset), v6: self.subnet6.map(|subnet| subnet.at(offset)) }
    }

    fn read<'a>(&self, guard: &'a mut MutexGuard<'_, Option<Table>>) -> Result<&'a mut Table, Error> {
        if guard.is_none() {
            let mut table = Table::default();
            for (name, text) in record::all(&self.directory)? {
                let Ok(v4) = name.parse() else {
                    tracing::warn!(name, "no lease: its name is no address");
                    continue;
                };
                let mut lines = text.lines();
                let owner =
                    lines.next().filter(|owner| record::check_owner(owner).is_ok()).unwrap_or_default();
                let v6 = lines.next().and_then(|v6| v6.parse().ok());
                table.insert(owner, Lease { v4, v6 });
            }
            table.by_owner.remove("");
            table.last = self.last();
            **guard = Some(table);
        }
        Ok(guard.as_mut().expect("invariant: it was just put there"))
    }

    fn last(&self) -> u32 {
        let text = std::fs::read_to_string(self.state_dir.join(LAST)).unwrap_or_default();
        let last = text.trim().parse::<Ipv4Addr>().ok().filter(|last| self.subnet.contains(*last));
        last.map_or(1, |last| last.to_bits() - self.subnet.first().to_bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            Scratch(std::env::temp_dir().join(format!("orlop-lease-{name}-{}", std::process::id())))
        }
        fn leases(&self, subnet: &str, subnet6: Option<&str>) -> Leases {
            Leases::new(
                self.0.clone(),
                subnet.parse().unwrap(),
                subnet6.map(|subnet| subnet.parse().unwrap()),
            )
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn an_owner_gets_the_same_lease_again_even_after_a_restart() {
        let scratch = Scratch::new("again");
        let leases = scratch.leases("10.1.0.0/16", Some("fd00::/64"));
        let first = leases.lease("a").unwrap();
        assert_eq!(first, Lease { v4: Ipv4Addr::new(10, 1, 0, 2), v6: Some("fd00::2".parse().unwrap()) });
        assert_eq!(leases.lease("a").unwrap(), first);
        // The settings may change: what is leased stays what it is.
        let later = scratch.leases("10.1.0.0/16", None);
        assert_eq!(later.lease("a").unwrap(), first);
        assert_ne!(later.lease("b").unwrap().v4, first.v4);
        assert_eq!(later.all().unwrap().len(), 2);
    }

    #[test]
    fn a_subnet_of_eight_has_five_leases_and_says_when_they_are_gone() {
        let scratch = Scratch::new("exhausted");
        let leases = scratch.leases("10.1.0.0/29", None);
        let mut all: Vec<_> = (0..5).map(|n| leases.lease(&format!("pod{n}")).unwrap().v4).collect();
        let error = leases.lease("one-too-many").unwrap_err();
        assert_eq!(error.to_string(), "no address of 10.1.0.0/29 is free: all 5 are leased");
        all.sort();
        assert_eq!(all, (2..=6).map(|last| Ipv4Addr::new(10, 1, 0, last)).collect::<Vec<_>>());
        leases.release("pod3").unwrap();
        leases.release("pod3").unwrap();
        assert_eq!(leases.lease("next").unwrap().v4, all[3]);
    }

    #[test]
    fn an_address_rests_before_it_is_leased_again() {
        let scratch = Scratch::new("rests");
        let mut seen = Vec::new();
        for n in 0..6 {
            // A new one each time: the order outlives the daemon.
            let leases = scratch.leases("10.1.0.0/29", None);
            let owner = format!("pod{n}");
            seen.push(leases.lease(&owner).unwrap().v4.octets()[3]);
            leases.release(&owner).unwrap();
        }
        assert_eq!(seen, [2, 3, 4, 5, 6, 2]);
    }

    #[test]
    fn fifty_at_once_get_fifty_addresses() {
        let scratch = Scratch::new("fifty");
        // Two stores of one directory, as if two daemons ran for a moment.
        let stores = [scratch.leases("10.1.0.0/24", None), scratch.leases("10.1.0.0/24", None)];
        for store in &stores {
            assert!(store.all().unwrap().is_empty());
        }
        let mut all: Vec<Ipv4Addr> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..50)
                .map(|n| {
                    let store = &stores[n % 2];
                    scope.spawn(move || store.lease(&format!("pod{n}")).unwrap().v4)
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 50);
        assert_eq!(scratch.leases("10.1.0.0/24", None).all().unwrap().len(), 50);
    }

    #[test]
    fn a_lease_that_cannot_be_read_keeps_its_address() {
        let scratch = Scratch::new("damaged");
        std::fs::create_dir_all(scratch.0.join("leases")).unwrap();
        std::fs::write(scratch.0.join("leases/10.1.0.2"), [0xff, 0]).unwrap();
        std::fs::write(scratch.0.join("leases/junk"), "x").unwrap();
        std::fs::write(scratch.0.join("leases/.10.1.0.3"), "half").unwrap();
        let leases = scratch.leases("10.1.0.0/24", None);
        assert_eq!(leases.lease("a").unwrap().v4, Ipv4Addr::new(10, 1, 0, 3));
        assert_eq!(leases.all().unwrap()[0].0, "");
    }
}
