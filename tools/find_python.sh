#!/bin/bash
# Print a Python: the first that has one of the given versions ("3.13 3.12"); without versions $PYTHON, or else the first
# from 3.11 on. A candidate is run, not only looked up: pyenv puts commands on PATH for versions that are switched off.
set -u

check='import sys; v = "%d.%d" % sys.version_info[:2]; w = sys.argv[1:]
sys.exit(not (v in w if w else sys.version_info >= (3, 11)))'

candidates() {
  local version
  if [ $# -eq 0 ]; then
    if [ -n "${PYTHON:-}" ]; then
      echo "$PYTHON"
      return
    fi
    echo python3
    set -- 3.13 3.12 3.11
  fi
  for version in "$@"; do
    echo "python$version"
    ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/"python$version" 2>/dev/null
  done
}

while read -r candidate; do
  if "$candidate" -c "$check" "$@" 2>/dev/null; then
    "$candidate" -c 'import sys; print(sys.executable)'
    exit 0
  fi
done < <(candidates "$@")

wanted="${*:-3.11 or later}"
echo "Python ${wanted// 3./ or 3.} was not found (PYTHON=${PYTHON:-}), neither on PATH nor among pyenv's versions." \
  "Install it and run this again." >&2
exit 1
