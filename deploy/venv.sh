#!/bin/bash
# Makes or refreshes .venv: the package (editable) with its embedded database, test and lint tools.
# Does nothing when pyproject.toml has not changed since. CXGAUGE_PYTHON names another interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

oldest="3.11"
new_enough="import sys; sys.exit(sys.version_info < (${oldest/./, }))"

find_python() {
  local candidate
  for candidate in ${CXGAUGE_PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14 /usr/bin/python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c "$new_enough" 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "no Python $oldest or newer found; install one (Debian 12 or newer: apt-get install python3) or name it in CXGAUGE_PYTHON" >&2
  return 1
}

# Debian splits venv off: without it ensurepip is missing, and `python3 -m venv` fails half-way.
ensure_venv_module() {
  local python="$1" package
  "$python" -c "import ensurepip, venv" 2>/dev/null && return
  package="$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing $package: $python has no venv module" >&2
    apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >&2
  else
    echo "$python has no venv module; as root: apt-get install $package" >&2
    return 1
  fi
}

python="$(find_python)"
stamp=".venv/pyproject.sha256"
wanted="$(cat pyproject.toml deploy/venv.sh | sha256sum | cut -d ' ' -f 1)"
if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && .venv/bin/python -c "$new_enough" 2>/dev/null; then
  exit 0
fi

# Two targets started at once must not both install.
exec 9>.venv.lock
flock 9
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

echo "setting up .venv with $python" >&2
if command -v uv >/dev/null; then
  [ -x .venv/bin/python ] || uv venv --quiet --python "$python" .venv
  VIRTUAL_ENV="$PWD/.venv" uv pip install --quiet --editable '.[embedded,grafana]' --group dev
else
  if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    ensure_venv_module "$python"
    "$python" -m venv --clear .venv
  fi
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' # the first with --group
  .venv/bin/python -m pip install -qq --disable-pip-version-check --editable '.[embedded,grafana]' --group dev
fi
echo "$wanted" >"$stamp"
