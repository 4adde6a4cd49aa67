# shellcheck shell=bash
# Finds the container engine and says what goes wrong; sourced by the other scripts.
# Works with the bash 3.2 and the BSD tools of macOS.

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# within SECONDS COMMAND...: runs the command, ends it at the deadline (macOS has no `timeout`).
within() {
  local seconds=$1
  shift
  if have timeout; then
    timeout "$seconds" "$@"
  elif have gtimeout; then
    gtimeout "$seconds" "$@"
  else
    perl -e 'alarm shift; exec @ARGV or die "$ARGV[0]: $!\n"' "$seconds" "$@"
  fi
}

# engine_answers [HOST]: true if an engine answers at HOST, or at the one docker would choose itself.
engine_answers() {
  if [ $# -gt 0 ]; then
    DOCKER_HOST=$1 within 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1
  else
    within 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1
  fi
}

# The sockets of engines that run without root or under another name, one per line.
other_sockets() {
  local run=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}
  printf '%s\n' \
    "$run/docker.sock" \
    "$HOME/.docker/run/docker.sock" \
    "$HOME/.colima/default/docker.sock" \
    "$HOME/.orbstack/run/docker.sock" \
    "$run/podman/podman.sock" \
    /run/podman/podman.sock
}

# find_engine: true if an engine answers; exports DOCKER_HOST unless docker finds it by itself.
#
# The servers we start do not read docker contexts, so an engine that only a context names is
# exported as well.
find_engine() {
  have docker || return 1
  if engine_answers; then
    if [ -z "${DOCKER_HOST:-}" ]; then
      local endpoint
      endpoint=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null || true)
      case $endpoint in
        '' | unix:///var/run/docker.sock) ;;
        *) export DOCKER_HOST=$endpoint ;;
      esac
    fi
    return 0
  fi
  # A DOCKER_HOST that does not answer is a mistake to report, not one to work around.
  [ -z "${DOCKER_HOST:-}" ] || return 1
  local socket
  while IFS= read -r socket; do
    if [ -S "$socket" ] && engine_answers "unix://$socket"; then
      export DOCKER_HOST="unix://$socket"
      return 0
    fi
  done <<SOCKETS
$(other_sockets)
SOCKETS
  return 1
}

# as_root COMMAND...: runs the command with the rights of root, through sudo where needed.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    sudo "$@"
  fi
}

# True if as_root can work: we are root, or there is a sudo that needs no password or can ask for one.
can_be_root() {
  [ "$(id -u)" -eq 0 ] && return 0
  have sudo || return 1
  sudo -n true 2>/dev/null || [ -t 0 ]
}

# True on Debian, Ubuntu and what is made from them.
is_debian() {
  [ -r /etc/os-release ] && have apt-get || return 1
  # shellcheck disable=SC1091 # the machine's own description of itself
  (. /etc/os-release && case " ${ID:-} ${ID_LIKE:-} " in *" debian "* | *" ubuntu "*) true ;; *) false ;; esac)
}

# apt_install PACKAGE...: installs packages without questions; refreshes the lists when they are too old to do it.
apt_install() {
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends)
  if ! as_root "${install[@]}" "$@" >&2; then
    as_root apt-get update -q >&2 || return 1
    as_root "${install[@]}" "$@" >&2
  fi
}
