//! Which processes are the command's.

#[cfg(target_os = "linux")]
use std::collections::HashMap;

/// Set in the command's environment, so that its processes are known by it when their parents are gone.
pub(super) const MARK: &str = "VRAMPLAN_MEASURE";

/// Whether descendants are found.
pub(super) const SEES_DESCENDANTS: bool = cfg!(target_os = "linux");

/// What a process is to the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kin {
    /// The command, or a descendant of it.
    Ours,
    /// Another that is there.
    Other,
    /// Nothing of that number is seen from here: it has ended, or it is outside this container.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    Unseen,
}

/// The command and its descendants, as far as they have been asked about.
pub(super) struct Tree {
    child: u32,
    #[cfg(target_os = "linux")]
    mark: String,
    /// Those known, with when they started: numbers are given again.
    #[cfg(target_os = "linux")]
    known: HashMap<u32, u64>,
}

/// More ancestors than a process has; numbers that are given again may form a ring.
#[cfg(target_os = "linux")]
const MOST_ANCESTORS: usize = 4096;

#[cfg(target_os = "linux")]
impl Tree {
    pub(super) fn of(child: u32, mark: String) -> Self {
        let known = read(child).map(|stat| (child, stat.starttime)).into_iter().collect();
        Self { child, mark, known }
    }

    /// What the process is.
    pub(super) fn kin(&mut self, pid: u32) -> Kin {
        let Some(stat) = read(pid) else {
            // the driver lists it a moment longer
            return if self.known.contains_key(&pid) { Kin::Ours } else { Kin::Unseen };
        };
        if self.known.get(&pid) == Some(&stat.starttime) || self.descends(stat.ppid) || self.is_marked(pid) {
            self.known.insert(pid, stat.starttime);
            return Kin::Ours;
        }
        Kin::Other
    }

    /// Whether a process whose parent is `parent` comes from the command.
    fn descends(&self, parent: i32) -> bool {
        let mut next = u32::try_from(parent).ok();
        for _ in 0..MOST_ANCESTORS {
            let Some(pid) = next.filter(|pid| *pid > 1) else { return false };
            let Some(stat) = read(pid) else { return false };
            if pid == self.child || self.known.get(&pid) == Some(&stat.starttime) {
                return true;
            }
            next = u32::try_from(stat.ppid).ok();
        }
        false
    }

    /// Whether it has the command's environment.
    fn is_marked(&self, pid: u32) -> bool {
        let process = i32::try_from(pid).ok().and_then(|pid| procfs::process::Process::new(pid).ok());
        let environment = process.and_then(|process| process.environ().ok());
        environment.and_then(|variables| variables.get(std::ffi::OsStr::new(MARK)).cloned())
            == Some(self.mark.clone().into())
    }
}

#[cfg(target_os = "linux")]
fn read(pid: u32) -> Option<procfs::process::Stat> {
    procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()
}

#[cfg(not(target_os = "linux"))]
impl Tree {
    pub(super) fn of(child: u32, _: String) -> Self {
        Self { child }
    }

    /// What the process is.
    pub(super) fn kin(&mut self, pid: u32) -> Kin {
        if pid == self.child { Kin::Ours } else { Kin::Other }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    fn shell(script: &str) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).env(MARK, "this").stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().expect("a shell")
    }

    /// The process that ran `script` writes the number of, on its first line.
    fn told(child: &mut Child) -> u32 {
        use std::io::{BufRead, BufReader};
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        line.trim().parse().expect("a number")
    }

    #[test]
    fn the_child_is_ours_and_we_are_not() {
        let mut child = shell("echo $$; read line");
        let mut tree = Tree::of(child.id(), "another".to_owned());
        assert_eq!(tree.kin(told(&mut child)), Kin::Ours);
        assert_eq!(tree.kin(std::process::id()), Kin::Other);
        assert_eq!(tree.kin(u32::MAX), Kin::Unseen);
        drop(child.stdin.take());
        child.wait().expect("its end");
        // it was seen, and is listed for a moment more
        assert_eq!(tree.kin(child.id()), Kin::Ours);
    }

    #[test]
    fn a_descendant_is_ours_after_its_parents_have_gone() {
        // the one in the middle is gone before anybody asks
        let mut child = shell("sh -c 'sh -c \"echo \\$\\$; read line\" <&3 & ' 3<&0; read line");
        let mut tree = Tree::of(child.id(), "this".to_owned());
        let orphan = told(&mut child);
        let asked = Instant::now();
        while read(orphan).is_some_and(|stat| tree.descends(stat.ppid)) && asked.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(tree.kin(orphan), Kin::Ours);
        assert_eq!(Tree::of(child.id(), "another".to_owned()).kin(orphan), Kin::Other);
        drop(child.stdin.take());
        child.wait().expect("its end");
    }
}
