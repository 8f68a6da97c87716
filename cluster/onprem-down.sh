#!/usr/bin/env bash
# End a cluster of your own machines: `ray down` ends the head alone, and leaves processes on the
# workers for good. Exits with 1 if a host did not end, and names it.
#
#   cluster/onprem-down.sh [cluster/onprem.yaml]
#
# FILL IN   nothing: the hosts are those of the file.
# COSTS     nothing. It ends every Ray of these machines.
set -euo pipefail

file=${1:-cluster/onprem.yaml}
python=$(dirname "$(command -v ray)")/python # it can read YAML
logins=$("$python" - "$file" <<'PYTHON'
import os, sys, yaml
config = yaml.safe_load(open(sys.argv[1]))
auth = config["auth"]
for host in config["provider"]["worker_ips"]:
    print(os.path.expanduser(auth["ssh_private_key"]), f"{auth['ssh_user']}@{host}")
PYTHON
)

left=()
ray down --yes "$file" || left+=("the head")
while read -r key login; do
    echo "ending Ray on $login"
    # As the launcher does: host keys are not looked at.
    ssh -n -i "$key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o ConnectTimeout=10 "$login" ". ~/raytune-edge/cluster/node-env.sh && ray stop" ||
        left+=("$login")
done <<<"$logins"
if [ ${#left[@]} -gt 0 ]; then
    echo "not ended: ${left[*]}; run 'ray stop' there" >&2
    exit 1
fi
