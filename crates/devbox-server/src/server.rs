//! Starting, serving, stopping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use devbox_backend::Backend;
use devbox_store::Store;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::allotment::Allotments;
use crate::app::App;
use crate::census::Census;
use crate::config::ServerConfig;
use crate::control;
use crate::edge::Edge;
use crate::error::ServerError;
use crate::guests::Guests;
use crate::listener::Acceptor;
use crate::metrics::Metrics;
use crate::reconcile::reconcile;
use crate::request_id::RequestIds;
use crate::tls::TlsIdentity;

/// How often old records of the audit are removed.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// A server that is ready to serve.
pub struct Server {
    app: Arc<App>,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Brings records and boxes together.
    ///
    /// # Errors
    /// `Backend`, `Store`, `Random`.
    pub async fn new(
        config: ServerConfig,
        backend: Arc<dyn Backend>,
        store: Store,
    ) -> Result<Self, ServerError> {
        let tls = config.tls.as_ref().map(TlsIdentity::acceptor);
        reconcile(&store, &*backend).await?;
        let metrics = Arc::new(Metrics::new());
        let app = Arc::new(App {
            allotments: Allotments::new(config.limits, Arc::clone(&metrics)),
            config,
            backend,
            store: Arc::new(store),
            guests: Guests::default(),
            metrics,
            census: Census::default(),
            request_ids: RequestIds::new()?,
            tasks: TaskTracker::new(),
            stopping: AtomicBool::new(false),
        });
        Ok(Self { app, tls })
    }

    /// `https` or `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Serves on `listener` until `stop` is done; then accepts nothing more, gives requests under way the configured grace,
    /// and returns when what they began is finished and the audit is committed.
    ///
    /// # Errors
    /// `PlaintextRefused` if the listener's address demands TLS; `Listener`; `Store` if the audit cannot be committed.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServerError> {
        let address = listener.local_addr();
        let address: SocketAddr =
            address.map_err(|source| ServerError::Listener { step: "look at the listener", source })?;
        let Self { app, tls } = self;
        app.config.check_exposure(address)?;
        tracing::info!(address = %address, tls = tls.is_some(), "serving");
        let guest = devbox_router::guest_routes(devbox_router::GrantSource::Extension);
        let acceptor = Acceptor {
            edge: Edge::new(Arc::clone(&app), control::routes(Arc::clone(&app)), guest),
            tls,
            limits: app.config.limits,
            timeouts: app.config.timeouts,
        };
        let stopping = Arc::clone(&app);
        let stop = async move {
            stop.await;
            stopping.stopping.store(true, Ordering::Relaxed);
        };
        let pruner = tokio::spawn(prune(Arc::clone(&app)));
        acceptor.run(listener, stop).await;
        pruner.abort();
        finish(&app).await
    }
}

/// Lets work that outlived its requests end, and commits the audit.
async fn finish(app: &App) -> Result<(), ServerError> {
    app.tasks.close();
    if timeout(app.config.timeouts.grace, app.tasks.wait()).await.is_err() {
        tracing::error!(tasks = app.tasks.len(), "work_cut_off");
    }
    app.store.audit().flush().await.map_err(|source| ServerError::Store { source })?;
    tracing::info!("stopped");
    Ok(())
}

/// Removes records of the audit that are old enough, now and then.
async fn prune(app: Arc<App>) {
    let mut ticks = interval(PRUNE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match app.store.audit().prune(app.config.limits.audit_keep).await {
            Ok(0) => {}
            Ok(records) => tracing::info!(records, "audit_pruned"),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "audit_prune_failed"),
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("scheme", &self.scheme()).finish_non_exhaustive()
    }
}
