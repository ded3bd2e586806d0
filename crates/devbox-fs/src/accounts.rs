//! The box's users and groups, from its own `/etc/passwd` and `/etc/group`. No NSS.

use std::collections::HashMap;

/// The longest account file that is read; what lies beyond is not seen.
pub(crate) const MAX_ACCOUNT_FILE: usize = 1 << 20;
/// The kernel's NGROUPS_MAX is 65,536; more than this many memberships of one user are cut off.
const MAX_GROUPS: usize = 1024;

/// A user of the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name; empty for a number that `/etc/passwd` does not have.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// All its groups, the primary one first.
    pub groups: Vec<u32>,
    /// Its home directory, `/` where none is given.
    pub home: String,
    /// Its login shell; empty where none is given.
    pub shell: String,
}

/// The parsed account files.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    users: Vec<Account>,
    by_name: HashMap<String, usize>,
    by_uid: HashMap<u32, usize>,
    groups: HashMap<String, u32>,
}

impl Accounts {
    /// Parses both files. Malformed lines are skipped, the first line of a name or number counts, as in libc.
    pub(crate) fn parse(passwd: &[u8], group: &[u8]) -> Self {
        let mut accounts = Self::default();
        for line in lines(passwd) {
            let Some(account) = parse_user(line) else { continue };
            let place = accounts.users.len();
            accounts.by_name.entry(account.name.clone()).or_insert(place);
            accounts.by_uid.entry(account.uid).or_insert(place);
            accounts.users.push(account);
        }
        for line in lines(group) {
            accounts.add_group(line);
            accounts.add_members(line);
        }
        accounts
    }

    fn add_group(&mut self, line: &str) {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'));
        let gid = fields.nth(1).and_then(|gid| gid.parse().ok()).filter(|gid| *gid != u32::MAX);
        if let (Some(name), Some(gid)) = (name, gid) {
            self.groups.entry(name.to_owned()).or_insert(gid);
        }
    }

    /// The number of a group.
    pub(crate) fn group(&self, name: &str) -> Option<u32> {
        self.groups.get(name).copied()
    }

    fn add_members(&mut self, line: &str) {
        let mut fields = line.split(':').skip(2);
        let (Some(Ok(gid)), Some(members)) = (fields.next().map(str::parse), fields.next()) else { return };
        for member in members.split(',') {
            let Some(place) = self.by_name.get(member) else { continue };
            let groups = &mut self.users[*place].groups;
            if groups.len() < MAX_GROUPS && !groups.contains(&gid) {
                groups.push(gid);
            }
        }
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Account> {
        self.by_name.get(name).map(|place| &self.users[*place])
    }

    pub(crate) fn numbered(&self, uid: u32) -> Option<&Account> {
        self.by_uid.get(&uid).map(|place| &self.users[*place])
    }

    /// The account of a number: where `/etc/passwd` has none, one with the same number as group.
    pub(crate) fn of_uid(&self, uid: u32) -> Account {
        self.numbered(uid).cloned().unwrap_or_else(|| Account {
            name: String::new(),
            uid,
            gid: uid,
            groups: vec![uid],
            home: "/".to_owned(),
            shell: String::new(),
        })
    }
}

fn lines(file: &[u8]) -> impl Iterator<Item = &str> {
    file.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok())
}

fn parse_user(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    let uid = fields.nth(1)?.parse().ok().filter(|uid| *uid != u32::MAX)?;
    let gid = fields.next()?.parse().ok().filter(|gid| *gid != u32::MAX)?;
    let home = fields.nth(1).filter(|home| !home.is_empty()).unwrap_or("/");
    let shell = fields.next().unwrap_or_default();
    Some(Account {
        name: name.to_owned(),
        uid,
        gid,
        groups: vec![gid],
        home: home.to_owned(),
        shell: shell.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\n# note\nbroken:x\nuser:x:1000:1001::/home/user:/bin/bash\n\
        user:x:5:5::/:\nbig:x:4294967295:1::/:\nbad:x:-1:1::/:\n\xff:x:7:7::/:\n";
    const GROUP: &[u8] = b"root:x:0:\nstaff:x:50:user,ghost\nagain:x:50:user\nx:x:nine:user\nwheel:x:10:user";

    #[test]
    fn users_have_their_groups_the_primary_one_first() {
        let accounts = Accounts::parse(PASSWD, GROUP);
        let user = accounts.named("user").expect("a user");
        assert_eq!((user.uid, &user.groups[..]), (1000, &[1001, 50, 10][..]));
        assert_eq!((user.home.as_str(), user.shell.as_str()), ("/home/user", "/bin/bash"));
        assert_eq!(accounts.of_uid(0).name, "root");
    }

    #[test]
    fn malformed_lines_make_no_user() {
        let accounts = Accounts::parse(PASSWD, GROUP);
        for name in ["broken", "big", "bad", "# note", ""] {
            assert_eq!(accounts.named(name), None, "{name}");
        }
        assert_eq!(accounts.of_uid(77).groups, [77]);
    }

    #[test]
    fn groups_have_their_first_number() {
        let accounts = Accounts::parse(PASSWD, GROUP);
        assert_eq!((accounts.group("staff"), accounts.group("wheel")), (Some(50), Some(10)));
        assert_eq!((accounts.group("x"), accounts.group("ghost"), accounts.group("")), (None, None, None));
    }
}
