# shellcheck shell=sh
# Installs what the project needs and this machine lacks. Sourced by the other scripts, from the top of the repository.
# Nothing is installed without saying so first.

say() { printf 'decnet-live: %s\n' "$*" >&2; }

fail() {
  say "$*"
  exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

is_root() { [ "$(id -u)" -eq 0 ]; }

as_root() {
  if is_root; then
    "$@"
  elif has sudo; then
    sudo "$@"
  else
    fail "this needs root, and sudo is not installed: run as root: $*"
  fi
}

# version_at_least HAVE WANT: compares the first three numbers; a suffix such as -canary does not count.
version_at_least() {
  awk -v have_text="$1" -v want_text="$2" 'BEGIN {
    split(have_text, have, /[^0-9]+/)
    split(want_text, want, /[^0-9]+/)
    for (i = 1; i <= 3; i++) if (have[i] + 0 != want[i] + 0) exit !(have[i] + 0 > want[i] + 0)
  }'
}

# install_packages WHAT DEBIAN-PACKAGES BREW-ARGUMENTS HINT: the hint says what to do where neither is there.
install_packages() {
  if has apt-get; then
    say "$1 is missing: installing it with apt-get install $2 (a service that it brings may start)"
    # An old list names packages that are gone. No list at all is worth a try: the install says what is wrong.
    as_root apt-get -q update >&2 </dev/null || say 'apt-get update failed; trying to install all the same'
    # Waits for an unattended upgrade that holds the lock. The package list is several words on purpose.
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends \
      -o DPkg::Lock::Timeout=300 $2 >&2 </dev/null || fail "$1 could not be installed: $4"
  elif has brew; then
    say "$1 is missing: installing it with brew install $3"
    # shellcheck disable=SC2086
    brew install $3 >&2 </dev/null || fail "$1 could not be installed: $4"
  else
    fail "$1 is missing, and neither apt-get nor brew is here to install it: $4"
  fi
}

# The pinned version of Bun, or a newer one with the same major number.
is_usable_bun() {
  found=$("$1" --version 2>/dev/null) || return 1
  [ "${found%%.*}" = "${2%%.*}" ] && version_at_least "$found" "$2"
}

# Puts a usable `bun` first on PATH: the machine's own, or the pinned one out of the npm registry under .data/bun.
ensure_bun() {
  # package.json's packageManager is the one place that names the version.
  pinned=$(sed -n 's/.*"packageManager": *"bun@\([^"]*\)".*/\1/p' package.json)
  [ -n "$pinned" ] || fail 'package.json does not name the version of Bun (packageManager)'
  if has bun && is_usable_bun bun "$pinned"; then return; fi
  programs="$PWD/.data/bun/node_modules/.bin"
  if ! is_usable_bun "$programs/bun" "$pinned"; then
    has npm || fail "Bun $pinned is missing, and so is npm to install it: see https://bun.sh, or install Node.js"
    say "Bun $pinned is missing: installing it with npm under .data/bun"
    npm install --prefix .data/bun --no-save --no-audit --no-fund --loglevel=error "bun@$pinned" >&2 </dev/null ||
      fail "npm could not install bun@$pinned"
    is_usable_bun "$programs/bun" "$pinned" || fail "npm installed a Bun that does not run here: $programs/bun"
  fi
  PATH="$programs:$PATH"
  export PATH
}

# Exactly what the lockfile names; at once when nothing changed.
ensure_dependencies() {
  bun install --frozen-lockfile --silent </dev/null >&2 || fail 'bun install failed; bun.lock may not fit package.json'
}

# ensure_redis ALTERNATIVE: what else helps where it cannot be installed, as the end of a sentence; may be empty.
ensure_redis() {
  hint="install Redis 7.0 or newer (https://redis.io/downloads)$1"
  has redis-server || install_packages redis-server redis-server redis "$hint"
  found=$(redis-server --version | sed -n 's/.* v=\([0-9.]*\).*/\1/p')
  version_at_least "$found" 7.0 || fail "redis-server is version ${found:-unknown}, too old: $hint"
}
