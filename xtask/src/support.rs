//! What no machine at hand could run: the list in `docs/support.md`.

use anyhow::{Context as _, Result, bail};

const PAGE: &str = "docs/support.md";
const HEADING: &str = "## Written, not run";

/// Prints the list, so that nobody takes a green run for more than it is.
pub(crate) fn print_unrun() -> Result<()> {
    let page = std::fs::read_to_string(PAGE).with_context(|| format!("cannot read {PAGE}"))?;
    let items = unrun(&page);
    if items.is_empty() {
        bail!("{PAGE} has no list under `{HEADING}`");
    }
    println!("\nwritten, not run ({PAGE}):");
    items.iter().for_each(|item| println!("{item}"));
    Ok(())
}

fn unrun(page: &str) -> Vec<&str> {
    let section = page.lines().skip_while(|line| *line != HEADING).skip(1);
    let section = section.take_while(|line| !line.starts_with("## "));
    section.filter(|line| line.starts_with("- ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_list_under_the_heading_is_shown() {
        let page = "# Support\n- not this\n## Written, not run\nWords.\n- arm64\n- old kernels\n## More\n- nor this\n";
        assert_eq!(unrun(page), ["- arm64", "- old kernels"]);
    }
}
