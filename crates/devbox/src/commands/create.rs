//! `devbox create`.

use devbox_types::devbox::{CreateRequest, Resources};

use super::connect;
use crate::cli::CreateArgs;
use crate::output;

pub(super) async fn create(args: CreateArgs) -> anyhow::Result<()> {
    let client = connect(&args.connection)?;
    let json = args.json;
    let devbox = client.create(&request(args)).await?;
    if json { output::json(&devbox) } else { output::line(devbox.id.as_str()) }
}

fn request(args: CreateArgs) -> CreateRequest {
    CreateRequest {
        name: args.name,
        language: args.language,
        runtime: args.runtime,
        template: args.template,
        env: args.env.into_iter().collect(),
        labels: args.label.into_iter().collect(),
        resources: Resources { cpu_millis: args.cpu, memory_bytes: args.memory, pids: args.pids },
    }
}
