# shellcheck shell=bash
# The software stack, and how to run inside it. Sourced by the other scripts.
#
#   an active Python with dolfinx >= 0.9      -> that one, with a venv on top where it lacks other packages
#   else root on a Debian-like machine        -> a private Debian root below the cache folder, entered with chroot
#   else                                      -> a message that says what to install
#
# Everything made here lives below $TWIN_CACHE, under a name that carries the hash of what it was made from. A folder
# appears under its final name only when it is complete: an interrupted set-up leaves nothing that could be used.

unset CDPATH
[ -e /dev/fd/0 ] || exec </dev/null # a closed standard input would be handed to the next file opened

TWIN_REPO=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd -P)
TWIN_CACHE=${TWIN_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/yjunction-twin}
case $TWIN_CACHE in /*) ;; *) TWIN_CACHE=$PWD/$TWIN_CACHE ;; esac
TWIN_SUITE=${TWIN_SUITE:-trixie}
TWIN_LOCK=$TWIN_REPO/requirements.lock

# dolfinx with its solvers and MPI, the BLAS that makes MUMPS fast (a minimal root brings the slow reference one), and
# the shared libraries that the PyPI wheels of Gmsh and VTK load. Gmsh and VTK themselves come from PyPI: Debian's lack
# the Netgen optimizer and the headless fallback.
osmesa=(libosmesa6)
case $TWIN_SUITE in trixie | bookworm) ;; *) osmesa=() ;; esac # Mesa 25 has dropped it; EGL draws without a screen too
TWIN_PACKAGES=(
  python3-dolfinx-real python3-petsc4py-real python3-mpi4py python3-venv python3-pip libopenblas0-pthread
  libgl1 libegl1 "${osmesa[@]}" libglu1-mesa libxcursor1 libxft2 libxinerama1 libxrender1 libxt6t64 libgomp1
  fonts-dejavu-core ca-certificates git mount
)
TWIN_ROOT_OPTIONS=(
  --mode=root --variant=apt --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "5"'
  --aptopt='Acquire::Check-Valid-Until "false"' # the Release file of unstable may be past its date
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*'
  --dpkgopt='path-include=/usr/share/doc/*/copyright'
)

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$1" >&2; shift; [ $# = 0 ] || printf '  %s\n' "$@" >&2; exit 1; }
digest() { sha256sum | cut -c1-12; }

remedy() { # remedy REASON: why there is no dolfinx here, and how to get it
  die "no Python with dolfinx >= 0.9 is active, and a private Debian root can't be made here: $1" \
    "With conda, no root rights needed:" \
    "  conda env create -f environment.yml" \
    "  conda activate yjunction-twin" \
    "On Debian 13 or newer: apt install python3-dolfinx-real python3-venv libopenblas0-pthread" \
    "On a cluster: scripts/container.def (Apptainer) or scripts/Dockerfile"
}

# ---- making things: one at a time, whole or not at all, with progress --------------------------------------------

# build FOLDER COMMAND...: runs COMMAND with the name of a scratch folder as its last argument, and renames that folder
# to FOLDER when it succeeds. One builder at a time; the others wait and then find it done.
build() {
  local final=$1; shift
  [ -d "$final" ] && return
  while
    mkdir -p -- "$TWIN_CACHE" 2>/dev/null && [ -w "$TWIN_CACHE" ] ||
      die "the cache folder $TWIN_CACHE can't be written" "set TWIN_CACHE to a folder that can"
    exec {lock}>>"$TWIN_CACHE/lock"
    if ! flock -n "$lock"; then
      say "waiting for another set-up that is under way in $TWIN_CACHE"
      flock "$lock"
    fi
    [ ! "$TWIN_CACHE/lock" -ef "/dev/fd/$lock" ] # a set-up that gave up has removed the lock that was waited for
  do exec {lock}>&-; done
  if [ ! -d "$final" ]; then
    TWIN_SCRATCH=$final.partial
    trap give_up EXIT
    trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM
    discard "$TWIN_SCRATCH"
    mkdir -- "$TWIN_SCRATCH"
    "$@" "$TWIN_SCRATCH/tree" || exit
    sync -f "$TWIN_SCRATCH/tree"
    mv -T -- "$TWIN_SCRATCH/tree" "$final"
    rm -rf -- "$TWIN_SCRATCH"
    trap - EXIT HUP INT TERM
  fi
  exec {lock}>&-
}

# What a set-up that fails or is interrupted still does: ends its child with all its descendants, removes its folder.
give_up() {
  local status=$? i
  trap '' HUP INT TERM
  if [ -n "${TWIN_CHILD:-}" ]; then
    for i in $(seq 50); do
      if [ "$i" -lt 40 ]; then kill -TERM -- "-$TWIN_CHILD"; else kill -KILL -- "-$TWIN_CHILD"; fi 2>/dev/null || break
      sleep 0.2
    done
  fi
  discard "$TWIN_SCRATCH"
  if [ "$(ls -A -- "$TWIN_CACHE")" = lock ]; then rm -f -- "$TWIN_CACHE/lock"; rmdir -- "$TWIN_CACHE"; fi
  exit "$status"
}

# Removes a tree, but never what may be mounted in it.
discard() {
  local mounted
  awk -v tree="$1/" '{gsub(/\\040/, " ", $5)} index($5, tree) == 1 {print $5}' /proc/self/mountinfo | sort -r |
    while IFS= read -r mounted; do umount -l -- "$mounted" || die "$mounted is still mounted" "unmount it"; done || exit
  rm -rf --one-file-system -- "$1"
}

# quietly TITLE COMMAND...: progress for a command that is silent for minutes. Its output goes to a log, whose end is
# shown only when it fails. The command gets a process group of its own, so that it can be ended with all its children,
# and dies with this shell even where nothing can be caught.
quietly() {
  local title=$1 log=$TWIN_SCRATCH/log began=$SECONDS said=-30 status=0; shift
  setsid setpriv --pdeathsig KILL "$@" >"$log" 2>&1 </dev/null &
  TWIN_CHILD=$!
  while kill -0 "$TWIN_CHILD" 2>/dev/null; do
    if [ -t 2 ]; then
      printf '\r\033[K%s … %d s  %.60s' "$title" $((SECONDS - began)) "$(tail -n 1 "$log" | tr -dc '[:print:]')" >&2
    elif [ $((SECONDS - said)) -ge 30 ]; then
      said=$SECONDS; say "$title … $((SECONDS - began)) s"
    fi
    sleep 1
  done
  wait "$TWIN_CHILD" || status=$?
  TWIN_CHILD=
  [ -t 2 ] && printf '\r\033[K' >&2
  if [ "$status" = 0 ]; then say "$title: done in $((SECONDS - began)) s"; return; fi
  tail -n 20 "$log" >&2
  if grep -Eq 'No space left on device|enough free space' "$log"; then no_room; fi
  return "$status"
}

room() { # room GIGABYTES: refuses to start what can't be finished
  [ "$(df -Pk -- "$TWIN_CACHE" | awk 'NR == 2 {print $4}')" -ge $(($1 * 1000 * 1000)) ] || no_room "$1"
}
no_room() {
  die "too little room in $TWIN_CACHE${1:+: $1 GB are needed}" "free some, or set TWIN_CACHE to a folder on another disk"
}

# ---- the private root --------------------------------------------------------------------------------------------

host_tools() {
  command -v mmdebstrap >/dev/null && command -v mount >/dev/null && [ -e /usr/share/keyrings/debian-archive-trixie-stable.gpg ] && return
  quietly "installing mmdebstrap" sh -c \
    'apt-get update && apt-get install -y --no-install-recommends mmdebstrap debian-archive-keyring mount' ||
    remedy "apt-get could not install mmdebstrap, see above (it needs the network once)"
}

make_root() { # make_root SCRATCH
  local scheme proxy options=("${TWIN_ROOT_OPTIONS[@]}" --include="$(IFS=,; echo "${TWIN_PACKAGES[*]}")")
  room 4
  PATH=$PATH:/usr/sbin:/sbin # dpkg wants them, and cron or su leave them out
  host_tools
  for scheme in http https; do
    proxy=""
    eval "$(apt-config shell proxy "Acquire::$scheme::Proxy" 2>/dev/null)"
    [ -z "$proxy" ] || options+=(--aptopt="Acquire::$scheme::Proxy \"$proxy\"")
  done
  # Name spaces of its own: what is mounted or started while the root is made is gone when its maker is, however it ends.
  quietly "making a private Debian $TWIN_SUITE with dolfinx (2 to 5 minutes, 2.5 GB, once)" \
    unshare --mount --pid --fork --kill-child --mount-proc \
    mmdebstrap "${options[@]}" "$TWIN_SUITE" "$1" ${TWIN_MIRROR:+"$TWIN_MIRROR"} ||
    remedy "mmdebstrap failed, see above (it needs the network once)"
}

# The way into the stack. Where there is a private root, scripts/enter lays it out, in a mount namespace that is gone
# when the command is.
TWIN_ENTER=(env)
inside() { "${TWIN_ENTER[@]}" "$@"; }    # inside COMMAND...: runs it in the stack
enter() { exec "${TWIN_ENTER[@]}" "$@"; } # enter COMMAND...: becomes it, so that signals reach it directly

# ---- Python ------------------------------------------------------------------------------------------------------

# Prints the active Python, the one with dolfinx >= 0.9; and its prefix, where it has all other packages as well.
active_python() {
  local python
  for python in "${TWIN_PYTHON:-}" python3 python /usr/bin/python3; do
    command -v "${python:-none}" >/dev/null 2>&1 || continue
    "$python" - "$TWIN_REPO/pyproject.toml" 2>/dev/null <<'PY' && return
import sys
from importlib.util import find_spec

if sys.version_info < (3, 11) or find_spec("dolfinx") is None:
    sys.exit(1)
import re
import tomllib
from importlib.metadata import PackageNotFoundError, version


def has(requirement):
    name, least = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement).groups()
    try:
        found = version(name)
    except PackageNotFoundError:
        return False
    return [int(n) for n in re.findall(r"\d+", found)] >= [int(n) for n in least.split(".")]


if not has("fenics-dolfinx>=0.9"):
    sys.exit(1)
with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
complete = all(map(has, project["dependencies"] + sum(project["optional-dependencies"].values(), [])))
print(sys.executable, sys.prefix if complete else "", sep="\n")
PY
  done
  return 1
}

# make_venv PYTHON WHAT SCRATCH: a venv with the pinned packages. WHAT is "full" (on top of PYTHON's own packages, such
# as dolfinx) or "lab" (by itself, without those of the field half).
make_venv() {
  local python=$1 what=$2 scratch=$3 final=${TWIN_SCRATCH%.partial} flags=()
  room 2
  if [ "$what" = full ]; then flags=(--system-site-packages); fi
  inside "$python" -m venv "${flags[@]}" "$scratch" || die "$python can't make a venv" "on Debian: apt install python3-venv"
  awk -v what="$what" '/^[^ #]/ {skip = what == "lab" && /^(gmsh|meshio|numba|llvmlite)==/} !skip' "$TWIN_LOCK" >"$TWIN_SCRATCH/wanted"
  mkdir "$TWIN_SCRATCH/tmp"
  quietly "installing the pinned Python packages, $what (1 to 3 minutes, 1.2 GB, once)" \
    "${TWIN_ENTER[@]}" env TMPDIR="$TWIN_SCRATCH/tmp" "$scratch/bin/python" -m pip install --require-hashes --no-deps \
    --only-binary :all: --no-input --disable-pip-version-check --progress-bar off -r "$TWIN_SCRATCH/wanted" ||
    die "pip could not install the packages of requirements.lock, see above" \
      "it needs the network once (behind a proxy: pip's own configuration is used)"
  # pip wrote the scratch folder's name into its scripts; the folder is about to get its final name.
  inside "$scratch/bin/python" - "$scratch" "$final" <<'PY'
import sys
from pathlib import Path

old, new = (name.encode() for name in sys.argv[1:])
for file in Path(sys.argv[1], "bin").iterdir():
    if not file.is_symlink() and old in (content := file.read_bytes()):
        file.write_bytes(content.replace(old, new))
PY
}

# venv_folder PYTHON WHAT: where that venv is or will be
venv_folder() {
  printf '%s/venv-%s-%s\n' "$TWIN_CACHE" "$2" "$( (echo "$TWIN_CACHE"; identity "$1"; cat -- "$TWIN_LOCK") | digest)"
}
identity() { if [ -n "$TWIN_ROOT" ]; then echo "$TWIN_ROOT $1"; else echo "$1"; "$1" -VV; fi; }

# ---- OpenFOAM ----------------------------------------------------------------------------------------------------

# Debian's package, and what the root lacks of its dependencies, unpacked beside the root: it runs from any folder.
make_openfoam() { # make_openfoam SCRATCH
  local apt=$TWIN_SCRATCH/apt
  room 1
  mkdir -p -- "$apt/lists/partial" "$apt/archives/partial" "$1"
  # apt's state is that of the root, where the host's /var hides it; nothing is written but below the scratch folder.
  # shellcheck disable=SC2016 # the inner shell expands them
  quietly "fetching OpenFOAM to compare with (1 minute, 0.5 GB, once)" "${TWIN_ENTER[@]}" sh -ec '
    apt=$1 tree=$2
    set -- -y -o Dir::State="$apt" -o Dir::State::status="$TWIN_ROOT/var/lib/dpkg/status" -o Dir::Cache="$apt" \
      -o Dir::Log="$apt" -o APT::Sandbox::User=root
    apt-get "$@" update
    apt-get "$@" --download-only install openfoam
    for package in "$apt"/archives/*.deb; do dpkg-deb -x "$package" "$tree"; done
    test -x "$tree/usr/bin/simpleFoam"' - "$apt" "$1"
}

# Sets TWIN_OPENFOAM where the private root is used, for the comparison of `twin bench`; elsewhere the PATH has OpenFOAM
# or not. The comparison does without it, so a failure is a note; an interruption is not.
openfoam() {
  local folder status=0
  [ -n "$TWIN_ROOT" ] || return 0
  folder=$TWIN_CACHE/openfoam-$(printf '%s\n' "$TWIN_ROOT" "$(declare -f make_openfoam)" | digest)
  trap 'exit 129' HUP; trap 'exit 143' TERM # after the one below has ended: no set-up outlives its caller
  (build "$folder" make_openfoam) || status=$?
  trap - HUP TERM
  case $status in 129 | 130 | 143) exit "$status" ;; esac
  if [ -d "$folder" ]; then
    export TWIN_OPENFOAM=$folder
  else
    say "note: OpenFOAM can't be had, see above; what compares with it is left out"
  fi
}

# ---- all of it ---------------------------------------------------------------------------------------------------

# Makes what is missing, and sets TWIN_ROOT (empty: the host itself), TWIN_BASE (the Python with dolfinx), TWIN_VENV and
# TWIN_PYTHON (the Python to run).
stack() {
  local active zone
  TWIN_ROOT="" TWIN_VENV=""
  if active=$(active_python); then
    { read -r TWIN_BASE; read -r TWIN_VENV || true; } <<<"$active"
  else
    [ "$(id -u)" = 0 ] || remedy "that takes root rights"
    command -v apt-get >/dev/null || remedy "this is not a Debian-like machine"
    unshare --mount true 2>/dev/null || remedy "this container may not mount (docker run --privileged may)"
    TWIN_ROOT=$TWIN_CACHE/root-$(printf '%s\n' "$TWIN_SUITE" "${TWIN_PACKAGES[@]}" "${TWIN_ROOT_OPTIONS[@]}" | digest)
    build "$TWIN_ROOT" make_root
    TWIN_BASE=/usr/bin/python3
    TWIN_ENTER=(unshare --mount -- bash "$TWIN_REPO/scripts/enter")
    # What belongs to the host's programs would break those of the root.
    unset LD_LIBRARY_PATH LD_PRELOAD PYTHONHOME PYTHONPATH
    zone=$(readlink -f /etc/localtime)
    case $zone in */zoneinfo/*) export TZ="${TZ:-${zone##*/zoneinfo/}}" ;; esac
    export PYTHONNOUSERSITE=1 LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  fi
  export TWIN_ROOT TWIN_CACHE TWIN_REPO
  if [ -n "$TWIN_VENV" ]; then
    TWIN_PYTHON=$TWIN_BASE
  else
    TWIN_VENV=$(venv_folder "$TWIN_BASE" full)
    build "$TWIN_VENV" make_venv "$TWIN_BASE" full
    TWIN_PYTHON=$TWIN_VENV/bin/python
  fi
  # A cache that can only be read, as in a container image, holds the stack; what runs gets one of its own.
  [ ! -e "$TWIN_CACHE" ] || [ -w "$TWIN_CACHE" ] || TWIN_CACHE=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/yjunction-twin
  export TWIN_VENV TWIN_PYTHON PATH="$TWIN_VENV/bin:$PATH" PYTHONPATH="$TWIN_REPO${PYTHONPATH:+:$PYTHONPATH}"
  export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # one thread a rank: MPI has the cores
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  export PRTE_MCA_rmaps_default_mapping_policy="${PRTE_MCA_rmaps_default_mapping_policy:-:oversubscribe}"
  if [ -n "$TWIN_ROOT" ]; then export OMPI_MCA_btl="${OMPI_MCA_btl:-self,sm}"; fi # one machine: no network needed
}
