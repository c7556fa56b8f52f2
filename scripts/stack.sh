# shellcheck shell=bash
# The software stack, and how to run inside it. Sourced by scripts/twin and scripts/test.
#
#   an active Python with dolfinx >= 0.9      -> that one, with a venv on top for what it lacks
#   else root + apt on a Debian-like machine  -> a private Debian root (below the cache folder), entered with bwrap
#   else                                      -> a message that says what to install
#
# Everything made here lives below $TWIN_CACHE, under a name that carries the hash of what it was made from. A folder
# appears under its final name only when it is complete, so an interrupted set-up leaves nothing that could be used.

TWIN_REPO=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
TWIN_CACHE=${TWIN_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/yjunction-twin}
TWIN_SUITE=${TWIN_SUITE:-trixie}
TWIN_LOCK=$TWIN_REPO/requirements.lock

# dolfinx with its solvers and MPI, the BLAS that makes MUMPS fast (a minimal root brings the slow reference one), and
# the shared libraries that the PyPI wheels of Gmsh and VTK load. Gmsh and VTK themselves come from PyPI: Debian's lack
# the Netgen optimizer and the headless fallback.
TWIN_PACKAGES=(
  python3-dolfinx-real python3-petsc4py-real python3-mpi4py python3-venv python3-pip libopenblas0-pthread
  libgl1 libegl1 libosmesa6 libglu1-mesa libxcursor1 libxft2 libxinerama1 libxrender1 libxt6t64 libgomp1
  fonts-dejavu-core ca-certificates git
)

say() { printf '%s\n' "$*" >&2; }
die() { local status=$1; shift; printf 'error: %s\n' "$@" >&2; exit "$status"; }
digest() { sha256sum | cut -c1-12; }

remedy() {
  cat >&2 <<'TEXT'
error: no Python with dolfinx >= 0.9 is active, and a private root can't be made here.
  With conda, no root rights needed:
    conda env create -f environment.yml
    conda activate yjunction-twin
  On Debian 13 or newer: apt install python3-dolfinx-real python3-venv libopenblas0-pthread
  On a cluster: scripts/container.def (Apptainer) or scripts/Dockerfile
TEXT
  say "  Why not here: $1"
  exit 1
}

# Removes a tree that may still have file systems mounted in it, without ever reaching across a mount.
discard() {
  local tree=$1
  [ -e "$tree" ] || return 0
  awk -v tree="$tree/" 'index($2, tree) == 1 {print $2}' /proc/self/mounts | sort -r | while read -r mounted; do
    umount -l "$mounted" 2>/dev/null || true
  done
  rm -rf --one-file-system -- "$tree"
}

# build FOLDER COMMAND...: runs COMMAND with the name of a scratch folder as its last argument, and renames that folder
# to FOLDER when it succeeds. One builder at a time; the others wait and then find it done.
build() {
  local final=$1 scratch=$1.partial status=0; shift
  [ -d "$final" ] && return 0
  mkdir -p "$TWIN_CACHE" 2>/dev/null || die 1 "the cache folder $TWIN_CACHE can't be written; set TWIN_CACHE to one that can"
  exec {lock}>"$TWIN_CACHE/lock" || die 1 "the cache folder $TWIN_CACHE can't be written; set TWIN_CACHE to one that can"
  if ! flock -n "$lock"; then
    say "waiting for another set-up that is under way in $TWIN_CACHE"
    flock "$lock"
  fi
  if [ ! -d "$final" ]; then
    discard "$scratch"
    trap 'discard "$scratch"; trap - INT; kill -INT $$' INT
    trap 'discard "$scratch"; trap - TERM; kill -TERM $$' TERM
    trap 'discard "$scratch"; trap - HUP; kill -HUP $$' HUP
    "$@" "$scratch" {lock}>&- || status=$?
    trap - INT TERM HUP
    if [ "$status" -ne 0 ]; then discard "$scratch"; exit "$status"; fi
    mv -- "$scratch" "$final"
  fi
  exec {lock}>&-
}

# A line of progress every few seconds for a command that is silent for minutes; its output goes to a log that is shown
# only when it fails.
quietly() {
  local title=$1 log status=0 began=$SECONDS; shift
  log=$(mktemp)
  "$@" >"$log" 2>&1 &
  local child=$!
  while kill -0 "$child" 2>/dev/null; do
    if [ -t 2 ]; then printf '\r%s … %d s ' "$title" $((SECONDS - began)) >&2
    elif [ $(((SECONDS - began) % 30)) -eq 0 ]; then say "$title … $((SECONDS - began)) s"; fi
    sleep 1
  done
  wait "$child" || status=$?
  [ -t 2 ] && printf '\r' >&2
  if [ "$status" -eq 0 ]; then say "$title: done in $((SECONDS - began)) s"; else tail -n 30 "$log" >&2; fi
  rm -f -- "$log"
  return "$status"
}

active_python() { # prints the active Python where it has dolfinx >= 0.9
  local python
  for python in "${TWIN_PYTHON:-}" python3 python /usr/bin/python3; do
    [ -n "$python" ] && command -v "$python" >/dev/null 2>&1 || continue
    if "$python" - <<'PY' >/dev/null 2>&1
import importlib.metadata as metadata, importlib.util as util, sys
found = util.find_spec("dolfinx") is not None
version = metadata.version("fenics-dolfinx") if found else "0"
sys.exit(tuple(map(int, version.split(".")[:2])) < (0, 9))
PY
    then command -v "$python"; return 0; fi
  done
  return 1
}

make_root() {
  local scratch=$1 proxy=""
  eval "$(apt-config shell proxy Acquire::http::Proxy 2>/dev/null)"
  local options=(--variant=apt --include="$(IFS=,; echo "${TWIN_PACKAGES[*]}")"
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "5"'
    --aptopt='Acquire::Check-Valid-Until "false"' # the Release file of unstable may be past its date
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*'
    --dpkgopt='path-include=/usr/share/doc/*/copyright')
  [ -n "$proxy" ] && options+=(--aptopt="Acquire::http::Proxy \"$proxy\"")
  if ! command -v mmdebstrap >/dev/null || ! command -v bwrap >/dev/null; then
    quietly "installing mmdebstrap and bubblewrap" sh -c 'apt-get update && apt-get install -y --no-install-recommends mmdebstrap bubblewrap' ||
      remedy "apt-get could not install mmdebstrap and bubblewrap (no network?)"
  fi
  # A mount namespace of its own: whatever is mounted while the root is made is gone when its maker is.
  quietly "making a private Debian $TWIN_SUITE with dolfinx (3 to 5 minutes, 3 GB, once)" \
    unshare --mount --propagation private mmdebstrap "${options[@]}" "$TWIN_SUITE" "$scratch" ||
    remedy "mmdebstrap failed (its last lines are above; no network?)"
}

# inside COMMAND...: runs it in the stack. The host's folders stand at their own paths, so a case may lie anywhere; the
# host's certificates and pip configuration come along, so what works on the host behind a proxy works here.
inside() {
  if [ -z "${TWIN_ROOT:-}" ]; then "$@"; return; fi
  local options=(--ro-bind "$TWIN_ROOT" / --dev-bind /dev /dev --proc /proc --bind /sys /sys) entry
  for entry in /*; do
    case $entry in
      /bin | /sbin | /lib | /lib32 | /lib64 | /libx32 | /usr | /etc | /var | /boot | /dev | /proc | /sys | /lost+found) ;;
      *) [ -d "$entry" ] && mkdir -p "$TWIN_ROOT$entry" && options+=(--bind "$entry" "$entry") ;;
    esac
  done
  for entry in /etc/resolv.conf /etc/hosts /etc/passwd /etc/group /etc/pip.conf /etc/ssl/certs \
    /usr/local/share/ca-certificates /var/tmp; do
    [ -e "$entry" ] || continue
    if [ -d "$entry" ]; then mkdir -p "$TWIN_ROOT$entry"; else : >>"$TWIN_ROOT$entry"; fi
    options+=(--bind "$(readlink -f "$entry")" "$entry")
  done
  case $TWIN_CACHE in /var/*) options+=(--bind "$TWIN_CACHE" "$TWIN_CACHE") ;; esac
  bwrap "${options[@]}" --chdir "$PWD" --die-with-parent "$@"
}

make_venv() { # make_venv PYTHON FLAG... SCRATCH
  local python=$1 scratch=${*: -1} flags=("${@:2:$#-2}") target
  target=${scratch%.partial}
  inside "$python" -m venv "${flags[@]}" "$scratch" || return
  quietly "installing the pinned Python packages (once)" inside "$scratch/bin/python" -m pip install \
    --require-hashes --no-deps --only-binary :all: --no-input --progress-bar off -r "$TWIN_LOCK" ||
    remedy "pip could not install the packages of requirements.lock (no network?)"
  # pip wrote the scratch folder's name into its scripts; the folder is about to get its final name.
  grep -rlIZ -- "$scratch" "$scratch/bin" "$scratch/pyvenv.cfg" | xargs -0 -r sed -i "s|$scratch|$target|g"
}

# Sets TWIN_ROOT (empty: the host itself) and TWIN_VENV, making what is missing.
stack() {
  local python key
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # one thread a rank: MPI has the cores
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl=${OMPI_MCA_btl:-self,sm}
  export PRTE_MCA_rmaps_default_mapping_policy=${PRTE_MCA_rmaps_default_mapping_policy:-:oversubscribe}
  TWIN_ROOT=""
  if ! python=$(active_python); then
    [ "$(id -u)" = 0 ] || remedy "not root, so no private root can be made"
    command -v apt-get >/dev/null || remedy "no apt-get: not a Debian-like machine"
    key=$( (echo "$TWIN_SUITE"; printf '%s\n' "${TWIN_PACKAGES[@]}"; declare -f make_root) | digest)
    TWIN_ROOT=$TWIN_CACHE/root-$key
    build "$TWIN_ROOT" make_root
    command -v bwrap >/dev/null ||
      quietly "installing bubblewrap" sh -c 'apt-get update && apt-get install -y --no-install-recommends bubblewrap' ||
      remedy "apt-get could not install bubblewrap (no network?)"
    python=/usr/bin/python3
  fi
  key=$( (echo "$TWIN_ROOT $python"; inside "$python" -VV; declare -f make_venv; cat "$TWIN_LOCK") | digest)
  TWIN_VENV=$TWIN_CACHE/venv-$key
  build "$TWIN_VENV" make_venv "$python" --system-site-packages
  export TWIN_ROOT TWIN_VENV TWIN_CACHE
}
