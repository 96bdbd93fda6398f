#!/bin/bash
# Ends and removes everything one net made. Reads standard input first: its other end is held by the process that owns
# the net, so this goes on when the owner lets go, is interrupted, crashes or is killed, and always does the same.
# usage: warden.sh PREFIX FOLDER OWNER
trap '' HUP INT TERM PIPE
prefix=$1 folder=$2 owner=$3
case $folder in /var/tmp/holdfast-?*) ;; *) echo "warden: $folder is no folder of a test" >&2; exit 1 ;; esac
cat >/dev/null

spaces() { local file; for file in /run/netns/"$prefix"-*; do [ -e "$file" ] && echo "${file##*/}"; done; }
members() {
  local space
  for space in $(spaces); do ip netns pids "$space" 2>/dev/null; done
  # One program for all of them: a machine has hundreds of processes, and every test waits for this.
  find /proc -maxdepth 2 -path '/proc/[0-9]*/cwd' \( -lname "$folder" -o -lname "$folder/*" \) -printf '%h\n' 2>/dev/null |
    cut -d/ -f3
}

# What is killed may be in the middle of starting something: look again until nobody is there.
for _ in {1..100}; do
  found=$(members | sort -un | grep -vxE "$owner|$$" | tr '\n' ' ')
  [ -z "${found// /}" ] && break
  # shellcheck disable=SC2086
  kill -KILL $found 2>/dev/null
  sleep 0.02
done
awk -v f="$folder/" 'index($2, f) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r mount; do umount -l "$mount"; done
for space in $(spaces); do ip netns del "$space"; done
# The cgroups of containers and machines are named like the net. One whose last process has just gone may need a moment.
for _ in {1..20}; do
  cgroups=$(find /sys/fs/cgroup -depth -type d -path "*/$prefix-*" 2>/dev/null)
  [ -z "$cgroups" ] && break
  while read -r cgroup; do rmdir "$cgroup" 2>/dev/null; done <<<"$cgroups"
  sleep 0.02
done
# What systemd-nspawn leaves of a machine that did not shut down.
rmdir /run/systemd/nspawn/propagate/"$prefix"-* 2>/dev/null
for link in "$folder"/goes-with-*; do
  # Only there, and only what a test named itself: a link that leads elsewhere is left alone.
  case $(readlink "$link" 2>/dev/null) in /run/holdfast-?*) rm -rf -- "$(readlink "$link")" ;; esac
done
rm -rf -- "$folder"
