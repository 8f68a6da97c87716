# shellcheck shell=bash
# What every command on a node needs: our programs first, and no Ray without the token.
_here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PATH="$_here/venv/bin:$PATH"
export RAY_AUTH_MODE=token
unset _here
