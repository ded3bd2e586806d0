//! Which template answers for what was asked.

use devbox_types::ErrorCode;
use devbox_types::devbox::{CreateRequest, Template};

use crate::refusal::Refusal;

/// A template, and what of it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved<'t> {
    pub(crate) template: &'t Template,
    /// Such as `host (python 3.11.2)`; `None` if only a template was asked for.
    pub(crate) runtime: Option<String>,
}

/// Finds the first template that provides all that is asked for: the template by name, the runtime in the version
/// given (`python:3.11` is met by 3.11.2, not by 3.12), the language in any version.
pub(crate) fn resolve<'t>(
    request: &CreateRequest,
    templates: &'t [Template],
) -> Result<Resolved<'t>, Refusal> {
    let named = |template: &&Template| request.template.as_ref().is_none_or(|name| *name == template.name);
    let mut candidates = templates.iter().filter(named);
    candidates.find_map(|template| answer(request, template)).ok_or_else(|| not_found(request, templates))
}

/// What `template` has to offer for the request; `None` if something is missing.
fn answer<'t>(request: &CreateRequest, template: &'t Template) -> Option<Resolved<'t>> {
    let provided = |wanted: &str| template.runtimes.iter().find(|runtime| meets(runtime, wanted));
    let language = match &request.language {
        Some(language) if language.contains(':') => return None,
        Some(language) => Some(provided(language)?),
        None => None,
    };
    let runtime = match &request.runtime {
        Some(name) if *name == template.name => None,
        Some(runtime) => Some(provided(runtime)?),
        None => None,
    };
    let describe = |runtime: &String| format!("{} ({})", template.name, runtime.replacen(':', " ", 1));
    Some(Resolved { template, runtime: runtime.or(language).map(describe) })
}

/// Whether `provided` (`python:3.11.2`) is what `wanted` (`python`, `python:3`, `python:3.11`) asks for.
fn meets(provided: &str, wanted: &str) -> bool {
    let (name, version) = provided.split_once(':').unwrap_or((provided, ""));
    match wanted.split_once(':') {
        None => name == wanted,
        Some((wanted_name, wanted_version)) => {
            let rest = version.strip_prefix(wanted_version);
            let whole_part = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            name == wanted_name && !wanted_version.is_empty() && whole_part
        }
    }
}

fn not_found(request: &CreateRequest, templates: &[Template]) -> Refusal {
    let asked =
        [("template", &request.template), ("runtime", &request.runtime), ("language", &request.language)];
    let asked: Vec<String> = asked
        .into_iter()
        .filter_map(|(what, value)| value.as_ref().map(|value| format!("{what} {value:?}")))
        .collect();
    let detail = match &asked[..] {
        [] => "this server has no templates".to_owned(),
        asked => format!("there is no template for {}", asked.join(" and ")),
    };
    let refusal = Refusal::new(ErrorCode::RuntimeNotFound, detail);
    if templates.is_empty() { refusal } else { refusal.with_hint(choices(templates)) }
}

fn choices(templates: &[Template]) -> String {
    let one = |template: &Template| match &template.runtimes[..] {
        [] => template.name.clone(),
        runtimes => format!("{} ({})", template.name, runtimes.join(", ")),
    };
    format!("choose what a template provides: {}", templates.iter().map(one).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates() -> Vec<Template> {
        let template = |name: &str, runtimes: &[&str]| Template {
            name: name.to_owned(),
            runtimes: runtimes.iter().map(|&runtime| runtime.to_owned()).collect(),
            workdir: "/workspace".to_owned(),
        };
        vec![template("host", &["python:3.11.2", "node:20.20.2"]), template("next", &["python:3.12.0"])]
    }

    fn ask(language: &str, runtime: &str, template: &str) -> Option<(String, Option<String>)> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let request = CreateRequest {
            language: given(language),
            runtime: given(runtime),
            template: given(template),
            ..CreateRequest::default()
        };
        let templates = templates();
        let resolved = resolve(&request, &templates).ok()?;
        Some((resolved.template.name.clone(), resolved.runtime))
    }

    #[test]
    fn the_first_template_that_provides_everything_answers() {
        let found = |name: &str, runtime: &str| {
            Some((name.to_owned(), (!runtime.is_empty()).then(|| runtime.to_owned())))
        };
        assert_eq!(ask("", "", ""), found("host", ""));
        assert_eq!(ask("python", "", ""), found("host", "host (python 3.11.2)"));
        assert_eq!(ask("python", "python:3.11", ""), found("host", "host (python 3.11.2)"));
        assert_eq!(ask("", "python:3.12", ""), found("next", "next (python 3.12.0)"));
        assert_eq!(ask("", "python", "next"), found("next", "next (python 3.12.0)"));
        assert_eq!(ask("", "next", ""), found("next", ""));
    }

    #[test]
    fn what_nobody_provides_is_not_found() {
        for (language, runtime, template) in [
            ("ruby", "", ""),
            ("", "python:3.1", ""),
            ("", "python:3.11.2.1", ""),
            ("", "python:", ""),
            ("", "python:3.11", "next"),
            ("node", "python:3.12", ""),
            ("python:3.11", "", ""),
            ("", "", "nothing"),
        ] {
            assert_eq!(ask(language, runtime, template), None, "{language} {runtime} {template}");
        }
    }
}
