//! The user that the server becomes.

use std::fs;

use super::ServeError;

/// The user that is taken if there is one of this name.
const DEFAULT_NAME: &str = "devbox";

/// The user that is taken otherwise. It has no name; nothing else on a usual machine has it: Debian hands out 100 to 59999
/// and 65534, systemd 61184 to 65519, containers and subordinate users begin at 65536.
const DEFAULT_UID: u32 = 65_520;

/// A user and its group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Finds the user: the one that is wanted, or the default.
pub(super) fn find(wanted: Option<&str>) -> Result<Account, ServeError> {
    // A machine without the file has no names.
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    choose(wanted, &passwd)
}

fn choose(wanted: Option<&str>, passwd: &str) -> Result<Account, ServeError> {
    let numbered = |uid: u32| by(passwd, |_, known| known == uid).unwrap_or(Account { uid, gid: uid });
    let named = |wanted: &str| by(passwd, |name, _| name == wanted);
    let account = match wanted.map(|wanted| (wanted, wanted.parse())) {
        Some((_, Ok(uid))) => numbered(uid),
        Some((name, Err(_))) => {
            named(name).ok_or_else(|| ServeError::NoSuchUser { name: name.to_owned() })?
        }
        None => named(DEFAULT_NAME).unwrap_or_else(|| numbered(DEFAULT_UID)),
    };
    // The largest number means "as it is" to the kernel.
    match account {
        Account { uid: 0, .. } | Account { gid: 0, .. } => Err(ServeError::UserIsRoot),
        Account { uid: u32::MAX, .. } => Err(ServeError::NoSuchUser { name: u32::MAX.to_string() }),
        account => Ok(account),
    }
}

fn by(passwd: &str, wanted: impl Fn(&str, u32) -> bool) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, uid, gid) = (fields.next()?, fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        wanted(name, uid).then_some(Account { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nsomeone:x:7:8::/:/bin/false\n";

    fn chosen(wanted: Option<&str>, passwd: &str) -> Result<(u32, u32), String> {
        choose(wanted, passwd).map(|account| (account.uid, account.gid)).map_err(|error| error.to_string())
    }

    #[test]
    fn users_have_names_or_numbers() {
        assert_eq!(chosen(Some("someone"), PASSWD), Ok((7, 8)));
        assert_eq!(chosen(Some("7"), PASSWD), Ok((7, 8)));
        assert_eq!(chosen(Some("4711"), PASSWD), Ok((4711, 4711)));
        assert!(chosen(Some("nobody-here"), PASSWD).is_err());
    }

    #[test]
    fn the_default_is_devbox_or_else_a_number() {
        assert_eq!(chosen(None, PASSWD), Ok((DEFAULT_UID, DEFAULT_UID)));
        assert_eq!(chosen(None, "devbox:x:5:6::/:/bin/false"), Ok((5, 6)));
    }

    #[test]
    fn root_is_refused_under_any_name() {
        for wanted in ["root", "0", "admin"] {
            let passwd = format!("{PASSWD}admin:x:0:0::/:/bin/sh\n");
            assert!(matches!(choose(Some(wanted), &passwd), Err(ServeError::UserIsRoot)), "{wanted}");
        }
    }
}
