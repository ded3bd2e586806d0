//! Bringing records and boxes together at the start.

use std::collections::HashSet;

use devbox_backend::Backend;
use devbox_store::Store;
use devbox_types::BoxId;

use crate::error::ServerError;

/// Undoes what a kill left half done, and forgets what is gone.
///
/// A record that is not ready is removed, with its box: nobody was told of it. A ready record without a box is removed:
/// its deletion was cut off, or the box is lost. A box without a record is deleted, unless the store is new: then it is the
/// records that are lost, and the boxes are left for whoever can tell what they are.
///
/// # Errors
/// `Backend` if the boxes cannot be listed, `Store` if a record cannot be removed. A box that cannot be deleted is logged,
/// and tried again at the next start.
pub(crate) async fn reconcile(store: &Store, backend: &dyn Backend) -> Result<(), ServerError> {
    let ids = backend.ids().await.map_err(|source| ServerError::Backend { source })?;
    let present: HashSet<BoxId> = ids.into_iter().collect();
    for record in store.list_boxes(None, usize::MAX, |_| true) {
        let id = &record.id;
        let there = present.contains(id);
        if record.ready && there {
            continue;
        }
        if there && !delete(backend, id).await {
            continue;
        }
        let forgotten = if record.ready { store.forget_box(id).await } else { store.abandon_box(id).await };
        forgotten.map_err(|source| ServerError::Store { source })?;
        tracing::warn!(box_id = %id, ready = record.ready, had_box = there, "record_removed_at_start");
    }
    for id in present.iter().filter(|id| store.find_box(id).is_none()) {
        if store.is_new() {
            tracing::warn!(box_id = %id, "box_without_record_left_alone");
        } else if delete(backend, id).await {
            tracing::warn!(box_id = %id, "box_without_record_deleted");
        }
    }
    Ok(())
}

async fn delete(backend: &dyn Backend, id: &BoxId) -> bool {
    match backend.delete(id).await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(box_id = %id, error = %error, "box_not_deleted_at_start");
            false
        }
    }
}
