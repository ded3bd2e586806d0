//! What is in memory of the database: every key and every box.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use devbox_types::{BoxId, Timestamp};

use crate::boxes::BoxRecord;
use crate::key::KeyRecord;

/// The order in which boxes are listed: oldest first, the id where that is not enough.
pub(crate) type Place = (Timestamp, BoxId);

/// Keys and boxes in memory. Locks are held for a look-up or a change of a map, never over an await.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    keys: RwLock<HashMap<String, Arc<KeyRecord>>>,
    boxes: RwLock<Boxes>,
}

#[derive(Debug, Default)]
struct Boxes {
    by_id: HashMap<BoxId, Arc<BoxRecord>>,
    by_name: HashMap<(String, String), BoxId>,
    in_order: BTreeMap<Place, Arc<BoxRecord>>,
}

impl Directory {
    pub(crate) fn key(&self, id: &str) -> Option<Arc<KeyRecord>> {
        read(&self.keys).get(id).cloned()
    }

    pub(crate) fn keys(&self) -> Vec<Arc<KeyRecord>> {
        read(&self.keys).values().cloned().collect()
    }

    pub(crate) fn insert_key(&self, record: Arc<KeyRecord>) {
        write(&self.keys).insert(record.id.clone(), record);
    }

    pub(crate) fn remove_key(&self, id: &str) {
        write(&self.keys).remove(id);
    }

    pub(crate) fn find_box(&self, id: &BoxId) -> Option<Arc<BoxRecord>> {
        read(&self.boxes).by_id.get(id).cloned()
    }

    pub(crate) fn find_box_named(&self, project: &str, name: &str) -> Option<Arc<BoxRecord>> {
        let boxes = read(&self.boxes);
        let id = boxes.by_name.get(&(project.to_owned(), name.to_owned()))?;
        boxes.by_id.get(id).cloned()
    }

    /// Boxes that pass `wanted`, in order, from behind `after`.
    pub(crate) fn list_boxes(
        &self,
        after: Option<&Place>,
        limit: usize,
        wanted: impl Fn(&BoxRecord) -> bool,
    ) -> Vec<Arc<BoxRecord>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let boxes = read(&self.boxes);
        let range = boxes.in_order.range((after.map_or(Unbounded, Excluded), Unbounded));
        range.map(|(_, record)| record).filter(|record| wanted(record)).take(limit).cloned().collect()
    }

    /// Inserts a record, or replaces the one of the same id.
    pub(crate) fn insert_box(&self, record: Arc<BoxRecord>) {
        let mut boxes = write(&self.boxes);
        if let Some(name) = &record.name {
            boxes.by_name.insert((record.project.clone(), name.clone()), record.id.clone());
        }
        boxes.in_order.insert((record.created, record.id.clone()), Arc::clone(&record));
        boxes.by_id.insert(record.id.clone(), record);
    }

    pub(crate) fn remove_box(&self, id: &BoxId) {
        let mut boxes = write(&self.boxes);
        let Some(record) = boxes.by_id.remove(id) else { return };
        boxes.in_order.remove(&(record.created, record.id.clone()));
        if let Some(name) = &record.name {
            boxes.by_name.remove(&(record.project.clone(), name.clone()));
        }
    }
}

// A panic cannot leave these maps half changed, so a poisoned lock is as good as any.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
