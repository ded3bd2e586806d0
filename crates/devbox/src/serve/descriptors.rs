//! How many files the server may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ServeError;

/// Takes as many as this process may have. Each connection is one, and one more to the box that it is about; the usual
/// 1,024 would end far below the number of connections that the server is ready to take.
pub(super) fn allow_all() -> Result<(), ServeError> {
    let allowed = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: allowed.maximum, ..allowed })
        .map_err(|error| ServeError::Step { step: "allow more open files".to_owned(), source: error.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_allowed_is_taken() {
        allow_all().expect("a limit");
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
    }
}
