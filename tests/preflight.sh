#!/bin/bash
# What the demo and the end-to-end tests need of this machine: says what is missing and what it installs, and installs
# it with apt. Never removes or replaces a package, starts no service, makes no database cluster, and uses a PostgreSQL,
# HAProxy or Docker that is there already as it is.
# usage: preflight.sh [--check] [--with-docker] [--loopback] [--demo]
#   --check        only say it; exit 1 when something is missing
#   --with-docker  also what the tests with containers, with a booted systemd and with a client in Python, and the
#                  benchmarks, need
#   --loopback     a machine without network namespaces will do (the demo then shows no isolation)
#   --demo         --loopback, what the build takes, and how long everything will be
# exit: 0 ready · 1 something is missing and was not installed · 2 this machine cannot do it
set -euo pipefail

check=0 docker=0 loopback=0 demo=0
for word in "$@"; do
  case $word in
    --check) check=1 ;; --with-docker) docker=1 ;; --loopback) loopback=1 ;; --demo) demo=1 loopback=1 ;;
    *) echo "preflight: unknown word $word; see the head of $0" >&2; exit 2 ;;
  esac
done
PATH=$PATH:/usr/sbin:/sbin
POLICY=/usr/sbin/policy-rc.d
CREATE=/etc/postgresql-common/createcluster.conf
MARK='# holdfast preflight: no service starts while packages are installed'
# The role that Holdfast logs in as takes grants that came with 15.
OLDEST_POSTGRES=15

say() { echo "preflight: $*"; }
cannot() { echo "preflight: this machine cannot run it: $*" >&2; exit 2; }

# ---- what this machine can do -------------------------------------------------------------------------------------
[ "$(uname -s)" = Linux ] || cannot "it is not Linux"
if [ "$(id -u)" = 0 ]; then sudo=()
elif command -v sudo >/dev/null; then
  sudo=(sudo)
  # Without a terminal nobody could type a password.
  [ -t 0 ] || sudo -n true 2>/dev/null || cannot "it takes root, and sudo asks for a password; run \`sudo -v\` first"
else cannot "it takes root or sudo, to install packages and to make network namespaces"
fi
if ! "${sudo[@]}" unshare --net true 2>/dev/null; then
  if [ "$loopback" = 1 ]; then say "network namespaces are not allowed here: processes are killed instead of cut off, and isolation is not shown"
  else cannot "root may not make network namespaces here (a container without CAP_SYS_ADMIN?); hosts of a test are namespaces"
  fi
fi

if [ "$demo" = 1 ]; then
  command -v cargo >/dev/null || cannot "cargo is not in PATH; the README has the line that installs Rust"
  command -v cc >/dev/null || cannot "there is no C compiler; the README has the line that installs one"
  say "next: what is missing; the build, some minutes the first time; the demo itself, half a minute"
fi

# ---- installing ---------------------------------------------------------------------------------------------------
# As root and in one process: what is put in place for the time of the installation is put back by the same one.
as_root() {
  "${sudo[@]}" env MARK="$MARK" POLICY="$POLICY" CREATE="$CREATE" bash -s -- "$@" <<'ROOT'
set -euo pipefail
say() { echo "preflight: $*"; }
# Two at once would put each other's files back.
exec 9>/run/lock/holdfast-preflight
flock -w 600 9 || { echo "preflight: another one has been installing for ten minutes" >&2; exit 1; }

# Also what a run that was killed had put aside. A second name for the same file is one that was never replaced.
put_back() {
  local aside
  for file in "$POLICY" "$CREATE"; do
    aside=$file.before-holdfast
    if [ "$aside" -ef "$file" ]; then rm -f "$aside"
    elif [ -e "$aside" ] || [ -L "$aside" ]; then mv -fT "$aside" "$file"
    elif [ -f "$file" ] && grep -qxF "$MARK" "$file"; then rm -f "$file"
    fi
  done
}
put_back
[ $# != 0 ] || exit 0
trap 'put_back; rm -f "${log:-}"' EXIT
trap 'exit 1' INT TERM HUP

# By a second name and a rename: at every moment the file is whole, and what is put back is the very same file.
replace() {
  if [ -e "$1" ] || [ -L "$1" ]; then ln -P "$1" "$1.before-holdfast"; fi
  cat > "$1.new"
  chmod "$2" "$1.new"
  mv -fT "$1.new" "$1"
}
printf '#!/bin/sh\n%s\nexit 101\n' "$MARK" | replace "$POLICY" 755

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
run() {
  if apt-get -q "$@" </dev/null 9>&- >"$log" 2>&1; then return 0; fi
  return 1
}
failed() { echo "preflight: apt-get $1 failed:" >&2; tail -n 20 "$log" >&2; rm -f "$log"; exit 1; }
lock=(-o DPkg::Lock::Timeout=300)
install() { run install -y --no-install-recommends --no-remove "${lock[@]}" "$@"; }
update() { say "reading the package lists"; run update "${lock[@]}" || failed update; }

# Lists that are a day old may name files that are gone.
if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mtime -1 -print -quit 2>/dev/null)" ]; then update; fi
add() { install "$@" && return 0; update; install "$@" || failed "install $*"; }

packages=()
for package in "$@"; do
  if [ "$package" = postgresql ]; then
    # First without a server: the file that keeps a server package from making a cluster belongs to this package.
    [ -e "$CREATE" ] || add postgresql-common
    if [ -e "$CREATE" ]; then
      printf '%s\ncreate_main_cluster = false\n' "$MARK" | replace "$CREATE" 644
    fi
    for candidate in postgresql-15 postgresql-17 postgresql-16 postgresql; do
      # What a pipe to grep -q would do to apt-cache is an error under pipefail.
      policy=$(apt-cache policy "$candidate")
      case $policy in *Candidate:\ [0-9]*) package=$candidate; break ;; esac
    done
  fi
  packages+=("$package")
  if [ "$package" = docker.io ]; then
    # From Debian 13 on the command is a package of its own, which the engine only recommends.
    policy=$(apt-cache policy docker-cli)
    case $policy in *Candidate:\ [0-9]*) packages+=(docker-cli) ;; esac
  fi
  if [ "$package" = systemd-container ]; then
    # It takes a systemd of its own version: the one of the systemd that is here, while there is one, replaces nothing.
    here=$(dpkg-query -W -f '${Version}' systemd 2>/dev/null) || here=
    policy=$(apt-cache madison systemd-container)
    case $policy in *"| $here |"*) packages[${#packages[@]}-1]=systemd-container=$here ;; esac
  fi
done
say "installing ${packages[*]}"
add "${packages[@]}"
rm -f "$log"
say "installed ${packages[*]}"
ROOT
}

# What a run that was killed has left is put right even when nothing is to be installed.
if [ "$check" = 0 ] && { [ -e "$POLICY.before-holdfast" ] || [ -e "$CREATE.before-holdfast" ] || grep -qsxF "$MARK" "$POLICY" "$CREATE"; }; then
  as_root
fi

# ---- what is missing ----------------------------------------------------------------------------------------------
newest_postgres() {
  # No folder at all is the common case on a fresh machine, and no reason to stop.
  { find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/postgres' 2>/dev/null || true; } | cut -d/ -f5 | sort -n | tail -1
}
missing=() seconds=0 megabytes=0
need() { missing+=("$1"); seconds=$((seconds + $2)); megabytes=$((megabytes + $3)); }
has() { command -v "$1" >/dev/null; }
major=$(newest_postgres)
if [ -z "$major" ]; then need postgresql 20 60
elif [ "$major" -lt "$OLDEST_POSTGRES" ]; then need postgresql 20 60
fi
has haproxy || need haproxy 5 5
# The demo has no Redis and no certificates.
if [ "$demo" = 0 ]; then
  has redis-server || need redis-server 5 8
  has openssl || need openssl 3 2
fi
has nft || need nftables 3 1
has ip || need iproute2 3 4
if ! has nsenter || ! has setpriv; then need util-linux 3 5; fi
if [ "$docker" = 1 ]; then
  # docker.io would push out a docker-ce that is there.
  has dockerd || need docker.io 25 280
  if has dockerd && ! has docker; then need docker-cli 3 40; fi
  has busybox || need busybox-static 2 2
  # What the agent is measured beside.
  has prometheus-node-exporter || need prometheus-node-exporter 5 15
  # A virtual environment without pip is one that nothing can be put into.
  python3 -c 'import ensurepip, tomllib' 2>/dev/null || need python3-venv 5 25
  [ -x /usr/lib/systemd/systemd ] || need systemd 5 15
  has systemd-nspawn || need systemd-container 3 2
  # Commands of the README are run as they stand there.
  has sudo || need sudo 2 6
  # With promtool; it is also the receiver that remote write is tested against. Its service is never started.
  if ! has promtool || ! has prometheus; then need prometheus 15 170; fi
  has curl || need curl 3 2
fi
if [ ${#missing[@]} = 0 ]; then
  say "nothing to install; PostgreSQL $major and $(haproxy -v | sed -n '1s/^HAProxy version \([^ -]*\).*/HAProxy \1/p') are used as they are"
  exit 0
fi
say "missing: ${missing[*]}"
if ! has apt-get; then
  say "this is no Debian: install these with your own package manager, then run it again" >&2
  exit 1
fi
if [ "$check" = 1 ]; then say "run $0 without --check to install them (about $seconds s, $megabytes MB)"; exit 1; fi
say "installs them with apt: about $seconds s, $megabytes MB; removes no package, starts no service, makes no cluster"

as_root "${missing[@]}"
major=$(newest_postgres)
[ -n "$major" ] || { say "PostgreSQL was installed, but not under /usr/lib/postgresql" >&2; exit 1; }
say "ready"
