//! Who runs the program, as the operating system knows them. Environment variables are not used,
//! because anybody can set them.

use std::process::{Command, Stdio};

/// The login uid of a process that was not started by a login.
const NO_LOGIN: u32 = u32::MAX;

/// `user@host`. Root is shown as the user who became root, from `sudo` or the login:
/// `ada@bastion (as root)`. Root can forge both; other users cannot, because the kernel reports
/// their id.
pub fn operator(host: &str) -> String {
    let sudo = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    let login =
        std::fs::read_to_string("/proc/self/loginuid").ok().and_then(|uid| uid.trim().parse().ok());
    let account =
        Account { effective: user_id(), sudo, login: login.filter(|uid| *uid != NO_LOGIN) };
    account.describe(host, name)
}

/// The user id of this account.
pub fn user_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The name of a user id; `uid-NUMBER`, if no user has it.
fn name(uid: u32) -> String {
    let local = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in(&local, uid)
        .or_else(|| name_in(&directory_entry(uid), uid))
        .unwrap_or_else(|| format!("uid-{uid}"))
}

/// The entry of a user from a directory such as LDAP. It is read with the system's `getent`,
/// because the C library's function is unsafe and does not work in a static program.
fn directory_entry(uid: u32) -> String {
    let mut getent = Command::new("/usr/bin/getent");
    getent
        .args(["passwd", &uid.to_string()])
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    getent
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

/// The name in the line `name:password:uid:…` of this user.
fn name_in(lines: &str, uid: u32) -> Option<String> {
    lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, uid_text) = (fields.next()?, fields.nth(1)?);
        (uid_text.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    })
}

/// The user of a process, as the system reports it.
#[derive(Debug, Clone, Copy)]
struct Account {
    effective: u32,
    sudo: Option<u32>,
    login: Option<u32>,
}

impl Account {
    fn describe(self, host: &str, name: impl Fn(u32) -> String) -> String {
        let behind_root = || self.sudo.or(self.login).filter(|uid| *uid != 0);
        match (self.effective, self.login) {
            (0, _) => match behind_root() {
                Some(uid) => format!("{}@{host} (as root)", name(uid)),
                None => format!("{}@{host}", name(0)),
            },
            (effective, Some(login)) if login != effective => {
                format!("{}@{host} (login {})", name(effective), name(login))
            }
            (effective, _) => format!("{}@{host}", name(effective)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runbook_engine::model::person_of;

    #[test]
    fn a_name_is_found_by_its_number_alone() {
        let lines =
            "root:x:0:0::/root:/bin/sh\nada:x:1001:7:1002,:/home/ada:/bin/sh\nbroken\n:x:5:5::/:/";
        let names = [0, 1001, 7, 1002, 5].map(|uid| name_in(lines, uid));
        assert_eq!(names, [Some("root".to_owned()), Some("ada".to_owned()), None, None, None]);
    }

    #[test]
    fn root_is_shown_as_the_user_who_became_root_and_others_as_themselves() {
        let all = [None, Some(0), Some(1), Some(2)];
        for sudo in all {
            for login in all {
                for effective in [0, 1, 2] {
                    let shown =
                        Account { effective, sudo, login }.describe("h", |uid| format!("u{uid}"));
                    let expected =
                        if effective == 0 { sudo.or(login).unwrap_or(0) } else { effective };
                    assert_eq!(
                        person_of(&shown),
                        format!("u{expected}"),
                        "{effective} {sudo:?} {login:?}: {shown}"
                    );
                }
            }
        }
    }
}
