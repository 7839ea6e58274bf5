# Shared by the scripts of this folder: what a fresh machine needs, and how to get it. Sourced, not run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo "$@"
  else return 1; fi
}

# need_packages PACKAGE...: installs the Debian packages that are missing, when this user may.
need_packages() {
  local missing=()
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return 0
  command -v apt-get >/dev/null || fail "this machine has no apt-get; install these first: ${missing[*]}"
  say "installing ${missing[*]}"
  as_root true || fail "missing packages; run: sudo apt-get install -y ${missing[*]}"
  as_root apt-get update -qq || true
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "apt-get could not install: ${missing[*]}"
}

need_node() {
  command -v node >/dev/null || fail 'Node.js 20.15 or newer is needed (nodejs.org, or your distribution)'
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 15) ? 0 : 1)' ||
    fail "Node.js 20.15 or newer is needed; this is $(node --version)"
  # Headers that came with Node spare a download when addons are compiled.
  local prefix
  prefix=$(node -p 'require("node:path").join(require("node:fs").realpathSync(process.execPath), "..", "..")')
  if [ -f "$prefix/include/node/node_api.h" ]; then export npm_config_nodedir=$prefix; fi
}

# A compiler is needed for better-sqlite3 (where no prebuilt binary can be had) and for our addon.
need_toolchain() {
  local missing=()
  command -v make >/dev/null || missing+=(make)
  command -v g++ >/dev/null || missing+=(g++)
  command -v python3 >/dev/null || missing+=(python3)
  [ ${#missing[@]} = 0 ] || need_packages "${missing[@]}"
}

# npm may be set not to run install scripts: better-sqlite3 is then on disk but not built.
need_modules() {
  if [ ! -f node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    say 'npm ci'
    npm ci --no-audit --no-fund --loglevel=error
    touch node_modules/.package-lock.json
  fi
  if ! node -e 'new (require("better-sqlite3"))(":memory:").close()' 2>/dev/null; then
    say 'building better-sqlite3'
    npm rebuild better-sqlite3 --ignore-scripts=false --foreground-scripts --loglevel=error >/dev/null 2>&1 || true
    node -e 'new (require("better-sqlite3"))(":memory:").close()' 2>/dev/null ||
      (cd node_modules/better-sqlite3 && "$root/node_modules/.bin/node-gyp" rebuild --release >/dev/null 2>&1) || true
    node -e 'new (require("better-sqlite3"))(":memory:").close()' ||
      fail 'better-sqlite3 could not be built; the lines above say why'
  fi
}

need_build() {
  scripts/build-native
  npm run --silent build:js
  chmod +x dist/bin/main.js
}

# A mount needs /dev/fuse; an ordinary user also needs fusermount3 and the right to open the device.
need_fuse() {
  [ "$(uname)" = Linux ] || return 0
  command -v fusermount3 >/dev/null || need_packages fuse3
  if [ ! -e /dev/fuse ]; then as_root modprobe fuse 2>/dev/null || true; fi
  [ -e /dev/fuse ] || fail 'there is no /dev/fuse here: load the fuse module, or start the container with --device /dev/fuse --cap-add SYS_ADMIN'
}

prepare() { # everything between a fresh clone and a program that runs
  need_node
  need_toolchain
  need_modules
  need_fuse
  need_build
}
