#!/bin/sh
# Make a virtual environment with a Python that will do, or say what is missing.
#   deploy/environment.sh VENV [PYTHON]    make VENV, unless it is usable
#   deploy/environment.sh --check VENV     succeed when VENV is usable: its Python answers, and it was not moved here
set -eu

usable() { "$1/bin/python" -c '' && [ "$(cat "$1/.made-at")" = "$(cd "$1" && pwd -P)" ]; } 2>/dev/null

if [ "$1" = --check ]; then usable "$2" && exit 0 || exit 1; fi
venv=$1
wanted=${2:-}
if usable "$venv"; then exit 0; fi

found=
for candidate in ${wanted:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        found=$candidate
        break
    fi
done
if [ -z "$found" ]; then
    echo "Trunkline needs Python 3.11 or newer; ${wanted:-python3} here is" \
        "$("${wanted:-python3}" --version 2>/dev/null || echo 'not installed')." >&2
    echo "Install a newer one, or say where one is: make PYTHON=/path/to/python3" >&2
    exit 1
fi
if ! "$found" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$found cannot make virtual environments: its venv or ensurepip module is missing." >&2
    echo "On Debian and Ubuntu: apt install python3-venv" >&2
    exit 1
fi
rm -rf "$venv"
"$found" -m venv "$venv"
(cd "$venv" && pwd -P >.made-at)
