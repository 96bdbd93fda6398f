//! Docker on a host: a daemon of its own in the host's namespace, all of its files in the net's folder.
//!
//! No image comes from anywhere: [`Image`] is made of the PostgreSQL that is installed here. A daemon that is killed
//! leaves its containers running, as everywhere; what is still there at the end is ended by the net's warden.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use super::{
    host::Host,
    members,
    net::Net,
    process::{Process, Program},
    reaper,
    time::wait_until,
};
use crate::preflight;

/// A daemon is up in half a second on a quiet machine.
const STARTED_WITHIN: Duration = Duration::from_secs(60);
/// One call of the `docker` command, the import of an image included.
const CALL_WITHIN: Duration = Duration::from_secs(60);

/// What the image is called on every host.
pub const IMAGE: &str = "postgres:here";

/// Folders that belong to the machine's own Docker. The daemons of a test get empty ones.
const OWN_FOLDERS: &str = "/etc/docker /run/docker /run/containerd";

/// Libraries of PostgreSQL that a server with a standby loads.
const LIBRARIES: [&str; 3] = ["libpqwalreceiver.so", "plpgsql.so", "dict_snowball.so"];

/// A docker daemon on a host. Dropping it ends the daemon and every container.
#[derive(Debug)]
pub struct Docker {
    host: Host,
    folder: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    cgroup: String,
    daemon: Option<Process>,
    /// Holds the mount namespace that the daemon is started in, also again after a kill.
    mounts: Process,
}

impl Docker {
    /// Starts one that listens on `socket`, with the image loaded.
    ///
    /// # Errors
    /// When Docker is missing or does not come up, with the end of its log.
    pub fn start(net: &Net, host: &Host, socket: &Path, image: &Image) -> Result<Self> {
        ensure!(net.isolates(), "docker of a test needs a network namespace of its own");
        for name in ["dockerd", "docker", "unshare"] {
            preflight::program(name).context("containers need it; tests/preflight.sh --with-docker installs it")?;
        }
        let folder = net.folder().join(format!("docker-{}", host.name));
        fs::create_dir_all(&folder)?;
        // Another file than /etc/docker/daemon.json, which is the machine's own.
        fs::write(folder.join("daemon.json"), "{}")?;
        let own = format!(
            "for d in {OWN_FOLDERS}; do mkdir -p $d && mount -t tmpfs none $d || exit 1; done; exec sleep infinity"
        );
        let mounts =
            Program::new("unshare").args(["--mount", "--propagation", "slave", "--", "sh", "-c", &own]).on(host);
        let mounts = mounts.start("mounts of docker", &net.log(&format!("dockerd-{}", host.name)))?;
        wait_until("folders of docker's own", STARTED_WITHIN, || {
            mounts.must_run().map_err(|e| format!("{e:#}"))?;
            let comm = fs::read_to_string(format!("/proc/{}/comm", mounts.pid())).map_err(|e| e.to_string())?;
            if comm.trim() == "sleep" { Ok(()) } else { Err(comm) }
        })?;
        let mut docker = Self {
            host: host.clone(),
            socket: socket.to_owned(),
            log: net.log(&format!("dockerd-{}", host.name)),
            // The net's warden removes what begins like the net.
            cgroup: format!("{}-{}", net.prefix(), host.name),
            daemon: None,
            mounts,
            folder,
        };
        docker.begin()?;
        docker.run(&["import", image.tar.to_str().context("a path that is no text")?, image.name])?;
        Ok(docker)
    }

    /// Starts the daemon again after [`Self::kill9`].
    ///
    /// # Errors
    /// When it does not come up.
    pub fn begin(&mut self) -> Result<()> {
        let at = |name: &str| self.folder.join(name);
        let mut socket = std::ffi::OsString::from("unix://");
        socket.push(&self.socket);
        let daemon = Program::new("nsenter")
            .arg(format!("--mount=/proc/{}/ns/mnt", self.mounts.pid()))
            .args(["--", "dockerd", "--host"])
            .arg(socket)
            .arg("--config-file")
            .arg(at("daemon.json"))
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .args(["--storage-driver", "overlay2", "--bridge", "none", "--iptables=false", "--ip-masq=false"])
            .args(["--ip-forward=false", "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent"])
            .arg(format!("/{}", self.cgroup))
            .on(&self.host)
            .start("dockerd", &self.log)?;
        self.daemon = Some(daemon);
        wait_until("docker to answer", STARTED_WITHIN, || {
            self.daemon.as_ref().map_or(Ok(()), Process::must_run).map_err(|e| format!("{e:#}"))?;
            self.run(&["version"]).map(drop).map_err(|e| format!("{e:#}"))
        })
    }

    /// `kill -9` of the daemon. Its containers run on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill9(&mut self) -> Result<()> {
        let daemon = self.daemon.take().context("dockerd was killed already")?;
        daemon.kill9().map(drop)
    }

    /// `kill -9` of the processes that stand between the daemon and its containers. Then nobody ends a container's other
    /// processes when its first one has ended.
    ///
    /// # Errors
    /// When there was none.
    pub fn kill9_shims(&self) -> Result<()> {
        let is_shim = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.starts_with("containerd-shim"))
        };
        let shims: Vec<u32> = members::of(&self.host).into_iter().filter(is_shim).collect();
        ensure!(!shims.is_empty(), "no container runs on {}", self.host);
        for pid in shims.iter().copied().filter_map(reaper::as_pid) {
            rustix::process::kill_process(pid, Signal::KILL)?;
        }
        wait_until("the shims to be gone", STARTED_WITHIN, || {
            if shims.iter().any(is_shim) { Err(format!("{shims:?}")) } else { Ok(()) }
        })
    }

    /// Runs `docker` with these arguments; what it prints.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        let mut socket = std::ffi::OsString::from("unix://");
        socket.push(&self.socket);
        // Whoever calls the tests may have a context and plugins of his own.
        let docker = Program::new("docker").env("DOCKER_CONFIG", &self.folder).env("DOCKER_CONTEXT", "");
        docker.arg("--host").arg(socket).args(args).run(CALL_WITHIN)?.well()
    }

    /// Every process of every container, by the kernel's word: the members of its cgroups.
    ///
    /// # Errors
    /// When a cgroup that is there cannot be read.
    pub fn processes(&self) -> Result<BTreeSet<u32>> {
        let root = Path::new("/sys/fs/cgroup");
        // Version 2 has the cgroup here, version 1 below each controller.
        let mut places = vec![root.join(&self.cgroup)];
        places.extend(fs::read_dir(root)?.flatten().map(|entry| entry.path().join(&self.cgroup)));
        let mut found = BTreeSet::new();
        while let Some(place) = places.pop() {
            match fs::read_to_string(place.join("cgroup.procs")) {
                Ok(text) => found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
                Err(e) if gone(&e) => continue,
                Err(e) => return Err(e).with_context(|| place.display().to_string()),
            }
            places.extend(fs::read_dir(&place)?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
        }
        // A zombie is nobody.
        found.retain(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok());
        Ok(found)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // The daemon first: it would restart what is killed, where it was told to. The net's warden does the same again.
        self.daemon = None;
        if let Ok(left) = self.processes() {
            for pid in left.into_iter().filter_map(reaper::as_pid) {
                // Gone between the look and the signal is what is wanted.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn gone(error: &io::Error) -> bool {
    // A cgroup that is being removed has no device.
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) || error.raw_os_error() == Some(19)
}

/// An image of this machine's PostgreSQL, as a file that Docker can import.
#[derive(Debug)]
pub struct Image {
    tar: PathBuf,
    bin: PathBuf,
    name: &'static str,
}

impl Image {
    /// Makes it in the net's folder: PostgreSQL, what it links to, and a shell.
    ///
    /// # Errors
    /// When something that belongs into it is not on this machine.
    pub fn make(net: &Net) -> Result<Self> {
        let (bin, shell) = (preflight::postgres()?, preflight::program("busybox"));
        let shell = shell.context("the image's shell; tests/preflight.sh --with-docker installs it")?;
        let lib = bin.with_file_name("lib");
        let root = net.folder().join("image");
        let mut programs = vec![bin.join("postgres"), shell.clone()];
        programs.extend(LIBRARIES.map(|name| lib.join(name)));
        for linked in &programs
            .iter()
            .map(|p| linked(p))
            .collect::<Result<BTreeSet<_>>>()?
            .into_iter()
            .flatten()
            .collect::<BTreeSet<_>>()
        {
            put(&root, linked)?;
        }
        for program in &programs {
            put(&root, program)?;
        }
        let major = bin.parent().and_then(Path::file_name).context("no version in the path of PostgreSQL")?;
        put(&root, &Path::new("/usr/share/postgresql").join(major))?;
        for wanted in ["/usr/share/zoneinfo", "/usr/lib/locale/C.utf8"].map(Path::new) {
            // Where PostgreSQL brings its own time zones, or the C library its own locale.
            if wanted.exists() {
                put(&root, wanted)?;
            }
        }
        fs::create_dir_all(root.join("bin"))?;
        for name in ["sh", "sleep"] {
            symlink(&shell, root.join("bin").join(name))?;
        }
        fs::create_dir_all(root.join("etc"))?;
        for name in ["passwd", "group"] {
            let all = fs::read_to_string(Path::new("/etc").join(name))?;
            let few: String = all
                .lines()
                .filter(|l| l.starts_with("postgres:") || l.starts_with("root:"))
                .map(|l| format!("{l}\n"))
                .collect();
            fs::write(root.join("etc").join(name), few)?;
        }
        fs::create_dir_all(root.join("tmp"))?;
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
        let tar = net.folder().join("image.tar");
        Program::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").run(CALL_WITHIN)?.well()?;
        fs::remove_dir_all(&root)?;
        Ok(Self { tar, bin, name: IMAGE })
    }

    /// What the image of a shell alone is called.
    pub const SHELL: &str = "busybox:here";

    /// A shell and what else busybox brings, a web server among it.
    ///
    /// # Errors
    /// When it is not on this machine.
    pub fn shell(net: &Net) -> Result<Self> {
        let shell = preflight::program("busybox").context("tests/preflight.sh --with-docker installs it")?;
        let (root, tar) = (net.folder().join("image-shell"), net.folder().join("image-shell.tar"));
        let bin = root.join("bin");
        fs::create_dir_all(&bin)?;
        fs::copy(&shell, bin.join("busybox"))?;
        for name in ["sh", "httpd", "sleep"] {
            symlink("busybox", bin.join(name))?;
        }
        ensure!(linked(&shell)?.is_empty(), "{} needs libraries; busybox-static does not", shell.display());
        Program::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").run(CALL_WITHIN)?.well()?;
        fs::remove_dir_all(&root)?;
        Ok(Self { tar, bin: PathBuf::from("/bin"), name: Self::SHELL })
    }

    /// Where PostgreSQL's programs are inside.
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.bin
    }
}

/// Copies a file or folder to the same place below `root`, what links lead to instead of links.
fn put(root: &Path, path: &Path) -> Result<()> {
    let to = root.join(path.strip_prefix("/")?);
    fs::create_dir_all(to.parent().context("the root itself")?)?;
    let copy = Program::new("cp").args(["-rL", "--preserve=mode"]).arg(path).arg(&to);
    copy.run(CALL_WITHIN)?.well().map(drop).with_context(|| path.display().to_string())
}

/// The shared libraries of a program, the loader included. None for one that is linked statically.
fn linked(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = Program::new("ldd").arg(program).run(CALL_WITHIN)?;
    if output.status() != Some(0) {
        if format!("{}{}", output.stdout, output.stderr).contains("not a dynamic executable") {
            return Ok(BTreeSet::new());
        }
        bail!("ldd {}: {}{}", program.display(), output.stdout, output.stderr);
    }
    if let Some(missing) = output.stdout.lines().find(|line| line.contains("not found")) {
        bail!("{}: {}", program.display(), missing.trim());
    }
    Ok(output.stdout.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_a_program_are_found() -> Result<()> {
        let found = linked(&std::env::current_exe()?)?;
        assert!(found.iter().any(|path| path.to_string_lossy().contains("libc.so")), "{found:?}");
        assert!(found.iter().all(|path| path.exists()), "{found:?}");
        Ok(())
    }
}
