//! `devbox cp`: what was typed becomes a plan, the plan becomes transfers.
//!
//! | module | subject |
//! |---|---|
//! | [`plan`] | which way, from where, under which name |
//! | [`local_source`] | a tree here, read step by step |
//! | [`upload`] | those steps as requests, many files in one |
//! | [`download`] | a tree in a box, read directory by directory |
//! | [`small`] | many small files from a box in one request |
//! | [`local_target`] | directories here that are written below, and nowhere else |
//! | [`large`] | files that go in pieces, either way |
//! | [`progress`] | how far it is |

mod download;
mod error;
mod large;
mod local_source;
mod local_target;
mod plan;
mod progress;
mod small;
mod upload;

use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::CpArgs;
use crate::commands::{INTERRUPTED, connect};

pub(crate) use error::{CopyError, code_of};
use large::Large;
use plan::{CopyPlan, plan};
pub(crate) use progress::Progress;

/// Runs `devbox cp`.
pub(crate) async fn cp(args: CpArgs) -> anyhow::Result<ExitCode> {
    let copy_plan = plan(args.sources, args.destination)?;
    let client = connect(&args.connection)?;
    let sandbox = client.sandbox(copy_plan.reference()).await?.as_user(args.user.unwrap_or_default());
    let progress = Progress::new(args.quiet);
    let large = Large::new(args.large, args.piece);
    let transfer = async {
        match copy_plan {
            CopyPlan::Upload { sources, to } => {
                upload::upload(&sandbox, &sources, &to.path, &progress, &large).await
            }
            CopyPlan::Download { sources, to } => {
                download::download(&sandbox, &sources, &to, &progress, &large).await
            }
        }
    };
    // Ctrl-C drops the transfer, which removes what it has staged here; the box does the same on its side. What came of a
    // large file stays on both sides, for the same command given again.
    let outcome = tokio::select! {
        outcome = transfer => outcome,
        pressed = tokio::signal::ctrl_c() => {
            progress.finish();
            pressed.context("watch for Ctrl-C")?;
            if progress.is_resumable() {
                progress.say("interrupted; what came of the large file is kept, and the same command goes on with it");
            }
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    progress.finish();
    outcome?;
    match progress.left_out() {
        0 => Ok(ExitCode::SUCCESS),
        count => Err(CopyError::LeftOut { count }.into()),
    }
}
