//! The index on disk: which layers, images and names this node has.
//!
//! *Invariant:* what is here is on disk whole: a file gets its record after it is durable and loses it before it goes. Every change is
//! one transaction with immediate durability.

use std::path::Path;

use orlop_model::reference::Digest;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::error::Error;
use crate::extract::Traps;
use crate::known::{Change, FixUp, Known, LayerRecord};
use crate::record;

type Keyed = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// diffID -> [`LayerRecord`].
const LAYERS: Keyed = TableDefinition::new("layers");
/// diffID -> what the layer leaves open, where it leaves anything open.
const TRAPS: Keyed = TableDefinition::new("traps");
/// Digest of a blob -> diffID that this node saw it unpack to.
const VERIFIED: Keyed = TableDefinition::new("verified");
/// Id -> image.
const IMAGES: Keyed = TableDefinition::new("images");
/// `name:tag` or `name@digest` -> id.
const NAMES: Keyed = TableDefinition::new("names");
/// Key of a chain -> [`FixUp`].
const FIX_UPS: Keyed = TableDefinition::new("fix_ups");
/// Version of all this.
const META: Keyed = TableDefinition::new("meta");
/// What is written by this program.
const VERSION: &[u8] = b"1";

const TABLES: [Keyed; 7] = [LAYERS, TRAPS, VERIFIED, IMAGES, NAMES, FIX_UPS, META];

/// The open index. There is one at a time: the file is locked.
pub(crate) struct Index {
    database: Database,
}

impl Index {
    /// Opens the index at `path`, making it if there is none, and reads all of it.
    pub(crate) fn open(path: &Path) -> Result<(Self, Known), Error> {
        let database = Database::create(path).map_err(|error| Error::index("open", error))?;
        let transaction = database.begin_write().map_err(|error| Error::index("open", error))?;
        for table in TABLES {
            transaction.open_table(table).map_err(|error| Error::index("open", error))?;
        }
        transaction.commit().map_err(|error| Error::index("open", error))?;
        let index = Index { database };
        match index.value(META, b"version")?.as_deref() {
            None => index.write(META, b"version", VERSION)?,
            Some(VERSION) => {}
            Some(_) => {
                let (object, why) = ("the image index".into(), "it was written by a newer version".into());
                return Err(Error::Unsupported { object, why });
            }
        }
        let known = index.read()?;
        Ok((index, known))
    }

    /// Makes all of `changes` durable, or none.
    pub(crate) fn apply(&self, changes: &[Change]) -> Result<(), Error> {
        let failed = |error: redb::Error| Error::index("write", error);
        let transaction = self.database.begin_write().map_err(|error| failed(error.into()))?;
        for change in changes {
            write_change(&transaction, change).map_err(failed)?;
        }
        transaction.commit().map_err(|error| failed(error.into()))
    }

    /// What the layer `diff_id` leaves open.
    pub(crate) fn traps(&self, diff_id: Digest) -> Result<Traps, Error> {
        match self.value(TRAPS, diff_id.as_bytes())? {
            None => Ok(Traps::default()),
            Some(bytes) => record::traps(&bytes).ok_or(Error::Record { table: "traps" }),
        }
    }

    fn read(&self) -> Result<Known, Error> {
        let mut known = Known::default();
        self.each(LAYERS, "layers", |key, value| {
            known.layers.insert(record::digest(key)?, LayerRecord::decode(value)?);
            Some(())
        })?;
        self.each(VERIFIED, "verified", |key, value| {
            known.verified.insert(record::digest(key)?, record::digest(value)?);
            Some(())
        })?;
        self.each(IMAGES, "images", |key, value| {
            let id = record::digest(key)?;
            known.images.insert(id, std::sync::Arc::new(record::image(id, value)?));
            Some(())
        })?;
        self.each(FIX_UPS, "fix_ups", |key, value| {
            known.fix_ups.insert(record::digest(key)?, FixUp::decode(value)?);
            Some(())
        })?;
        self.each(NAMES, "names", |key, value| {
            known.put_name(std::str::from_utf8(key).ok()?, record::digest(value)?);
            Some(())
        })?;
        known.sum();
        Ok(known)
    }

    fn each(
        &self,
        table: Keyed,
        name: &'static str,
        mut with: impl FnMut(&[u8], &[u8]) -> Option<()>,
    ) -> Result<(), Error> {
        let failed = |error: redb::Error| Error::index("read", error);
        let transaction = self.database.begin_read().map_err(|error| failed(error.into()))?;
        let table = transaction.open_table(table).map_err(|error| failed(error.into()))?;
        for row in table.iter().map_err(|error| failed(error.into()))? {
            let (key, value) = row.map_err(|error| failed(error.into()))?;
            with(key.value(), value.value()).ok_or(Error::Record { table: name })?;
        }
        Ok(())
    }

    fn value(&self, table: Keyed, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let failed = |error: redb::Error| Error::index("read", error);
        let transaction = self.database.begin_read().map_err(|error| failed(error.into()))?;
        let table = transaction.open_table(table).map_err(|error| failed(error.into()))?;
        let value = table.get(key).map_err(|error| failed(error.into()))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn write(&self, table: Keyed, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.open_table(table)?.insert(key, value)?;
            Ok(transaction.commit()?)
        };
        write().map_err(|error| Error::index("write", error))
    }
}

fn write_change(transaction: &redb::WriteTransaction, change: &Change) -> Result<(), redb::Error> {
    let put = |table: Keyed, key: &[u8], value: &[u8]| -> Result<(), redb::Error> {
        transaction.open_table(table)?.insert(key, value)?;
        Ok(())
    };
    let drop = |table: Keyed, key: &[u8]| -> Result<(), redb::Error> {
        transaction.open_table(table)?.remove(key)?;
        Ok(())
    };
    match change {
        Change::PutLayer { diff_id, layer, traps } => {
            put(LAYERS, diff_id.as_bytes(), &layer.encode())?;
            if *traps == Traps::default() {
                Ok(())
            } else {
                put(TRAPS, diff_id.as_bytes(), &record::encode_traps(traps))
            }
        }
        Change::DropLayer(diff_id) => {
            drop(LAYERS, diff_id.as_bytes())?;
            drop(TRAPS, diff_id.as_bytes())
        }
        Change::PutVerified { blob, diff_id } => put(VERIFIED, blob.as_bytes(), diff_id.as_bytes()),
        Change::DropVerified(blob) => drop(VERIFIED, blob.as_bytes()),
        Change::PutImage(image) => put(IMAGES, image.id.as_bytes(), &record::encode_image(image)),
        Change::DropImage(id) => drop(IMAGES, id.as_bytes()),
        Change::PutName { name, id } => put(NAMES, name.as_bytes(), id.as_bytes()),
        Change::DropName(name) => drop(NAMES, name.as_bytes()),
        Change::PutFixUp { chain, fix_up } => put(FIX_UPS, chain.as_bytes(), &fix_up.encode()),
        Change::DropFixUp(chain) => drop(FIX_UPS, chain.as_bytes()),
    }
}
