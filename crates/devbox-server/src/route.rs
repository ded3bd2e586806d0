//! Which route a request is for, as metrics name it.

use http::Method;

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'p> {
    /// The inside of a box: its id or name as written, and the path below it, with its `/`.
    Guest { area: Area, reference: &'p str, rest: &'p str },
    /// A control route, by the name of its pattern.
    Control(&'static str),
}

/// The parts of the guest contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    Files,
    Entries,
    Archive,
    Uploads,
    Processes,
}

impl Area {
    fn of(segment: &str) -> Option<Self> {
        match segment {
            "files" => Some(Self::Files),
            "entries" => Some(Self::Entries),
            "archive" => Some(Self::Archive),
            "uploads" => Some(Self::Uploads),
            "processes" => Some(Self::Processes),
            _ => None,
        }
    }
}

const BOXES: &str = "/v1/devboxes/";

impl<'p> Place<'p> {
    /// Looks at a raw path. Control routes get a name of a closed list, so that paths cannot fill the metrics.
    pub(crate) fn of(path: &'p str) -> Self {
        let Some(below) = path.strip_prefix(BOXES) else { return Self::Control(control(path)) };
        let Some((reference, inside)) = below.split_once('/') else {
            return Self::Control("/v1/devboxes/{id}");
        };
        let segment = inside.split_once('/').map_or(inside, |(segment, _)| segment);
        match (Area::of(segment), segment) {
            (Some(area), _) => Self::Guest { area, reference, rest: &below[reference.len()..] },
            (None, "start") => Self::Control("/v1/devboxes/{id}/start"),
            (None, "stop") => Self::Control("/v1/devboxes/{id}/stop"),
            (None, _) => Self::Control(UNKNOWN),
        }
    }

    /// The name in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Control(pattern) => pattern,
            Self::Guest { area: Area::Files, .. } => FILES,
            Self::Guest { area: Area::Entries, .. } => "/v1/devboxes/{id}/entries",
            Self::Guest { area: Area::Archive, .. } => ARCHIVE,
            Self::Guest { area: Area::Uploads, .. } => UPLOADS,
            Self::Guest { area: Area::Processes, .. } => "/v1/devboxes/{id}/processes",
        }
    }
}

/// The name of everything about contents of files in metrics.
pub(crate) const FILES: &str = "/v1/devboxes/{id}/files";

/// The name of everything about archives in metrics.
pub(crate) const ARCHIVE: &str = "/v1/devboxes/{id}/archive";

/// The name of everything about uploads in metrics.
pub(crate) const UPLOADS: &str = "/v1/devboxes/{id}/uploads";

const UNKNOWN: &str = "unknown";

fn control(path: &str) -> &'static str {
    const EXACT: [&str; 8] = [
        "/v1/devboxes",
        "/v1/templates",
        "/v1/keys",
        "/v1/audit",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
    ];
    match EXACT.into_iter().find(|exact| *exact == path) {
        Some(exact) => exact,
        None if path.starts_with("/v1/keys/") => "/v1/keys/{id}",
        None => UNKNOWN,
    }
}

/// The method in metrics: one of a closed list too.
pub(crate) fn method_label(method: &Method) -> &'static str {
    const METHODS: [(&Method, &str); 6] = [
        (&Method::GET, "GET"),
        (&Method::PUT, "PUT"),
        (&Method::POST, "POST"),
        (&Method::DELETE, "DELETE"),
        (&Method::HEAD, "HEAD"),
        (&Method::PATCH, "PATCH"),
    ];
    METHODS.into_iter().find(|(known, _)| *known == method).map_or("other", |(_, label)| label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inside_of_a_box_is_told_from_its_control() {
        assert_eq!(
            Place::of("/v1/devboxes/web/files/a%2Fb/c"),
            Place::Guest { area: Area::Files, reference: "web", rest: "/files/a%2Fb/c" }
        );
        assert_eq!(
            Place::of("/v1/devboxes/web/processes"),
            Place::Guest { area: Area::Processes, reference: "web", rest: "/processes" }
        );
        assert_eq!(Place::of("/v1/devboxes/web/start"), Place::Control("/v1/devboxes/{id}/start"));
        assert_eq!(Place::of("/v1/devboxes/web"), Place::Control("/v1/devboxes/{id}"));
        assert_eq!(Place::of("/v1/devboxes"), Place::Control("/v1/devboxes"));
        assert_eq!(Place::of("/v1/devboxes/web/filesystem"), Place::Control("unknown"));
        assert_eq!(Place::of("/anything/else"), Place::Control("unknown"));
    }
}
