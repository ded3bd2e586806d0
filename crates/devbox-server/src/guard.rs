//! What stands between a caller and the guest of a box: decorators of `Guest`, one place for each concern.
//!
//! Outermost first: [`Audited`] records what is done, [`Limited`] bounds it, [`Scoped`] asks whether the caller may,
//! [`Attended`] turns the silence of a dead agent into an answer that says what to do. Innermost, and made once for each agent, [`Featured`] refuses what
//! the agent is too old for.

mod attended;
mod audited;
mod featured;
mod limited;
mod record;
mod scoped;
mod vigil;

use std::sync::Arc;

use devbox_guest::Guest;
use devbox_store::BoxRecord;

use self::attended::Attended;
use self::audited::Audited;
pub(crate) use self::featured::Featured;
use self::limited::Limited;
use self::scoped::Scoped;
use crate::app::{Actor, App};
use crate::auth::rights_of;

/// The guest of a box, with every guard that a call of this actor has to pass.
pub(crate) fn guarded(app: &Arc<App>, actor: Actor, record: Arc<BoxRecord>) -> Arc<dyn Guest> {
    let attended = Attended::new(Arc::clone(app), record.id.clone());
    let scoped = Scoped::new(attended, rights_of(actor.key.role));
    let allotment = app.allotments.of(&actor.key);
    let limited = Limited::new(scoped, app.config.limits.max_transfer_bytes, allotment);
    Arc::new(Audited::new(limited, Arc::clone(&app.store), actor, record))
}
