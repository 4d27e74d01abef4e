# Sourced by ./demo and ./check.

# Pick a Python of at least 3.11.
find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "asepsis needs Python 3.11 or newer; set PYTHON=/path/to/python" >&2
    return 2
}

# make_venv FOLDER EXTRA: install this checkout with EXTRA, unless nothing has changed since.
make_venv() {
    local folder=$1 extra=$2 python stamp
    python=$(find_python)
    stamp=$(cat pyproject.toml constraints.txt scripts/venv.sh | cksum; "$python" -V; pwd)
    if [ -f "$folder/.stamp" ] && [ "$(cat "$folder/.stamp")" = "$stamp" ]; then
        return
    fi
    echo "Installing asepsis[$extra] into $folder (about a minute, 1.5 GB) ..."
    "$python" -m venv --clear "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint constraints.txt --editable ".[$extra]"
    printf '%s' "$stamp" >"$folder/.stamp"
}
