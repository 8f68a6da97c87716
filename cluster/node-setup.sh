#!/usr/bin/env bash
# Make this host a node: one Python, one raytune_edge and all it needs, at the versions named.
# Run by `ray up` on each node, and by hand on a stick's host; a second run finds all done.
#
#   node-setup.sh 3.11.9 0.1.0                  # the Python, down to its patch version; the package
#   node-setup.sh --device-host 3.11.9 0.1.0    # what measuring needs: no PyTorch, 0.6 GB
#
# FILL IN   nothing. Expects beside the folder it lies in: constraints.txt and
#           dist/raytune_edge-VERSION-*.whl; leaves there python/, uv/ and venv/.
# COSTS     some GB of disk with PyTorch.
set -euo pipefail

kind=trainer
if [ "${1:-}" = --device-host ]; then
    kind=device-host
    shift
fi
python=${1:?the version of Python, such as 3.11.9}
version=${2:?the version of raytune_edge, such as 0.1.0}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$here/venv
uv=$here/uv/bin/uv
wheel=$(echo "$here"/dist/raytune_edge-"$version"-*.whl)
if [ ! -e "$wheel" ]; then
    echo "expected $wheel: make build, and let dist/ lie here" >&2
    exit 1
fi
requirements=$here/cluster/ncs-host/requirements.txt
found() {
    "$venv/bin/python" -c 'import platform, raytune_edge as r; print(platform.python_version(), r.__version__)' 2>/dev/null || true
}

# The version alone would not tell a package that was built anew, or other constraints.
wanted=$(echo "$kind $python" && sha256sum "$wheel" "$here/constraints.txt" "$requirements")
if [ "$(found)" != "$python $version" ] || [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
    echo "raytune_edge $version under Python $python goes to $venv"
    umask 022 # the user of the unit reads what root installs
    export UV_PYTHON_INSTALL_DIR=$here/python
    if [ ! -x "$uv" ]; then
        python3 -m venv --clear "$here/uv"
        "$here/uv/bin/pip" install --quiet uv
    fi
    "$uv" venv --quiet --clear --python "$python" "$venv"
    install=("$uv" pip install --quiet --python "$venv/bin/python" --constraint "$here/constraints.txt")
    if [ "$kind" = trainer ]; then
        "${install[@]}" "ray[default]" boto3 "$wheel"
    else
        "${install[@]}" --requirement "$requirements"
        "${install[@]}" --no-deps "$wheel"
    fi
    if [ "$(found)" != "$python $version" ]; then
        echo "expected Python and raytune_edge $python $version in $venv, got $(found)" >&2
        exit 1
    fi
    echo "$wanted" >"$venv/installed"
fi

if [ "$kind" = trainer ]; then
    # The launcher's shells read ~/.bashrc before each command, `ray exec` and `ray down` included.
    line=". $here/cluster/node-env.sh"
    grep -qxF "$line" ~/.bashrc 2>/dev/null || echo "$line" >>~/.bashrc
    if [ -e ~/.ray/auth_token ]; then
        chmod 700 ~/.ray
        chmod 600 ~/.ray/auth_token
    fi
fi
