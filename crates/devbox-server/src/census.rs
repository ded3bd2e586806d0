//! How many boxes are in which state.

use std::time::Duration;

use devbox_backend::Backend;
use devbox_store::Store;
use devbox_types::devbox::BoxState;
use futures_util::{StreamExt as _, stream};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Whoever asks more often hears the same: the question needs no key, and asks about every box.
const FRESH: Duration = Duration::from_secs(5);
/// How many boxes are looked at at once.
const LOOKS_AT_ONCE: usize = 16;

/// A number for each state.
pub(crate) type Counts = [(BoxState, i64); 4];

/// Counts boxes by state, now and then.
#[derive(Debug, Default)]
pub(crate) struct Census {
    last: Mutex<Option<(Instant, Counts)>>,
}

impl Census {
    /// The counts, at most a few seconds old. Those who ask at once wait for one count.
    pub(crate) async fn counts(&self, store: &Store, backend: &dyn Backend) -> Counts {
        let mut last = self.last.lock().await;
        if let Some((_, counts)) = last.filter(|(when, _)| when.elapsed() < FRESH) {
            return counts;
        }
        let counts = count(store, backend).await;
        *last = Some((Instant::now(), counts));
        counts
    }
}

async fn count(store: &Store, backend: &dyn Backend) -> Counts {
    let mut counts =
        [(BoxState::Starting, 0), (BoxState::Running, 0), (BoxState::Stopped, 0), (BoxState::Failed, 0)];
    let looks = stream::iter(store.list_boxes(None, usize::MAX, |_| true)).map(|record| async move {
        match backend.status(&record.id).await {
            Ok(status) => status.state,
            Err(_) if !record.ready => BoxState::Starting,
            Err(_) => BoxState::Failed,
        }
    });
    let mut states = looks.buffer_unordered(LOOKS_AT_ONCE);
    while let Some(state) = states.next().await {
        if let Some((_, count)) = counts.iter_mut().find(|(known, _)| *known == state) {
            *count += 1;
        }
    }
    counts
}
