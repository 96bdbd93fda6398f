//! How much of the system this process may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process open as many files as the system lets it, and answers how many that are; nothing when there is no
/// limit. The usual soft limit of 1024 is for programs that use `select`; a coordinator has two connections for each
/// agent.
pub fn open_files_to_the_most() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Refused, it stays as it was.
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        return current;
    }
    maximum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_most_that_is_allowed() {
        let most = open_files_to_the_most();
        let now = getrlimit(Resource::Nofile);
        assert_eq!((now.current, most), (now.maximum, now.maximum));
    }
}
