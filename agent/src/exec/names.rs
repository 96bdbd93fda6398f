//! Looking names up: at most once at a time for each name.
//!
//! The system's resolver cannot be interrupted. While no server answers it keeps a thread for half a minute, long after
//! the check that asked has ended at its time limit. So whoever asks for the same name meanwhile waits for that very
//! look-up instead of beginning another: there are never more such threads than names.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{FutureExt as _, future::BoxFuture, future::Shared};

/// Asks the system. May block for as long as it likes.
type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;
type Answer = Result<Arc<[IpAddr]>, NameError>;
type Running = Mutex<BTreeMap<String, Shared<BoxFuture<'static, Answer>>>>;

/// A name that cannot be looked up. A resolver that is down says nothing about the service behind the name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot look up {name}: {why}")]
pub struct NameError {
    name: String,
    why: String,
}

/// The host's names. Cheap to clone; all clones share their look-ups.
#[derive(Clone)]
pub struct Names {
    look_up: Arc<LookUp>,
    running: Arc<Running>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::asking(|name| Ok((name, 0).to_socket_addrs()?.map(|at| at.ip()).collect()))
    }
}

impl Names {
    /// With another resolver than the system's.
    pub fn asking(look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self { look_up: Arc::new(look_up), running: Arc::default() }
    }

    /// The addresses of a name, at least one. An address is its own.
    ///
    /// # Errors
    /// [`NameError`].
    pub async fn addresses(&self, name: &str) -> Answer {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(Arc::from([address]));
        }
        let running = {
            let mut all = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(name.to_owned()).or_insert_with(|| self.begin(name)).clone()
        };
        running.await
    }

    /// Whether this name is being looked up right now.
    #[must_use]
    pub fn waits_for(&self, name: &str) -> bool {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    fn begin(&self, name: &str) -> Shared<BoxFuture<'static, Answer>> {
        let (look_up, asked) = (Arc::clone(&self.look_up), name.to_owned());
        let over = Over { name: asked.clone(), running: Arc::clone(&self.running) };
        let work = tokio::task::spawn_blocking(move || {
            let failed = |why: String| NameError { name: asked.clone(), why };
            let found = look_up(&asked).map_err(|e| failed(e.to_string()));
            // From here on a new question is a new look-up: nobody gets an answer from before they asked.
            drop(over);
            match found? {
                none if none.is_empty() => Err(failed("it has no address".to_owned())),
                mut some => {
                    some.dedup();
                    Ok(some.into())
                }
            }
        });
        let name = name.to_owned();
        work.map(|ended| ended.unwrap_or_else(|e| Err(NameError { name, why: e.to_string() }))).boxed().shared()
    }
}

/// Takes a look-up off the list when it is over, also when it panicked.
struct Over {
    name: String,
    running: Arc<Running>,
}

impl Drop for Over {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

impl reqwest::dns::Resolve for Names {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let names = self.clone();
        Box::pin(async move {
            let found = names.addresses(name.as_str()).await?;
            // The port comes from the URL.
            let all: Vec<SocketAddr> = found.iter().map(|address| SocketAddr::new(*address, 0)).collect();
            Ok(Box::new(all.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn an_address_needs_no_look_up_and_a_bad_name_is_told() {
        let names = Names::asking(|name| if name == "none" { Ok(Vec::new()) } else { Err(io::Error::other("down")) });
        assert_eq!(
            names.addresses("10.0.0.7").await.expect("an address").as_ref(),
            ["10.0.0.7".parse::<IpAddr>().expect("one")]
        );
        assert_eq!(names.addresses("::1").await.expect("an address").len(), 1);
        assert_eq!(names.addresses("db-1").await.expect_err("down").to_string(), "cannot look up db-1: down");
        assert_eq!(
            names.addresses("none").await.expect_err("none").to_string(),
            "cannot look up none: it has no address"
        );
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_holds_one_thread_for_each_name_and_its_late_answer_is_nobodys() {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let names = Names::asking(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            wait.lock().expect("unpoisoned").recv().expect("the test goes on");
            Ok(vec![IpAddr::from([10, 0, 0, 1])])
        });
        for _ in 0..50 {
            let asked = tokio::time::timeout(Duration::from_millis(5), names.addresses("db-1"));
            assert!(asked.await.is_err(), "nothing answers");
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        go.send(()).expect("it waits");
        let deadline = tokio::time::timeout(Duration::from_secs(30), async {
            while !names.running.lock().expect("unpoisoned").is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        deadline.await.expect("the look-up ends once it is answered");
        go.send(()).expect("the next one waits");
        assert_eq!(names.addresses("db-1").await.expect("found").len(), 1);
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }
}
