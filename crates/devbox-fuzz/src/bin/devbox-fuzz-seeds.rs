//! Writes the seeds of a target into a directory: `devbox-fuzz-seeds TARGET DIRECTORY`. Without arguments, names the targets.

#![expect(clippy::print_stdout, reason = "the names are its product")]

use std::error::Error;
use std::path::Path;

use devbox_fuzz::TARGETS;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        [name, directory] => {
            let target =
                TARGETS.iter().find(|target| target.name == name).ok_or("there is no such target")?;
            std::fs::create_dir_all(directory)?;
            for (number, seed) in (target.seeds)().iter().enumerate() {
                std::fs::write(Path::new(directory).join(format!("seed-{number}")), seed)?;
            }
        }
        _ => return Err("usage: devbox-fuzz-seeds [TARGET DIRECTORY]".into()),
    }
    Ok(())
}
