//! The suite that every backend is run against, run against the one in memory.

use std::sync::Arc;

use devbox_backend::conformance;
use devbox_backend::memory::{MemoryBackend, MemoryGuest};
use devbox_types::devbox::Template;

fn backend() -> MemoryBackend {
    let template =
        Template { name: "memory".to_owned(), runtimes: Vec::new(), workdir: "/workspace".to_owned() };
    MemoryBackend::new(vec![template], |_| Arc::new(MemoryGuest::default()))
}

#[tokio::test]
async fn the_backend_in_memory_conforms() {
    conformance::all(&backend()).await;
}
