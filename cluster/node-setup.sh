#!/usr/bin/env bash
# Make this host a node: one Python, one raytune_edge and all it needs, at the versions named.
# Run by `ray up` on each node, and by hand on a stick's host; a second run finds all done.
#
#   node-setup.sh 3.11.9 0.1.0      # the Python, down to its patch version; the package
#
# Expects beside the folder it lies in: constraints.txt and dist/raytune_edge-VERSION-*.whl
set -euo pipefail

python=${1:?the version of Python, such as 3.11.9}
version=${2:?the version of raytune_edge, such as 0.1.0}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$here/venv
found() {
    "$venv/bin/python" -c 'import platform, raytune_edge as r; print(platform.python_version(), r.__version__)' 2>/dev/null || true
}

if [ "$(found)" != "$python $version" ]; then
    echo "raytune_edge $version under Python $python goes to $venv (some GB with PyTorch)"
    python3 -m venv --clear "$here/uv"
    "$here/uv/bin/pip" install --quiet uv
    "$here/uv/bin/uv" venv --quiet --clear --python "$python" "$venv"
    "$here/uv/bin/uv" pip install --quiet --python "$venv/bin/python" \
        --constraint "$here/constraints.txt" "ray[default]" boto3 "$here"/dist/raytune_edge-"$version"-*.whl
fi
if [ "$(found)" != "$python $version" ]; then
    echo "expected Python and raytune_edge $python $version in $venv, got $(found)" >&2
    exit 1
fi

# The launcher's shells read ~/.bashrc before each command, `ray exec` and `ray down` included.
line=". $here/cluster/node-env.sh"
grep -qxF "$line" ~/.bashrc 2>/dev/null || echo "$line" >>~/.bashrc
if [ -e ~/.ray/auth_token ]; then
    chmod 700 ~/.ray
    chmod 600 ~/.ray/auth_token
fi
