#!/usr/bin/env bash
# End a cluster of your own machines: `ray down` ends the head alone, and leaves processes on the
# workers for good.
#
#   cluster/onprem-down.sh [cluster/onprem.yaml]
set -euo pipefail

file=${1:-cluster/onprem.yaml}
python=$(dirname "$(command -v ray)")/python # it can read YAML
ray down --yes "$file"

"$python" - "$file" <<'PYTHON' | while read -r key login; do
import os, sys, yaml
config = yaml.safe_load(open(sys.argv[1]))
auth = config["auth"]
for host in config["provider"]["worker_ips"]:
    print(os.path.expanduser(auth["ssh_private_key"]), f"{auth['ssh_user']}@{host}")
PYTHON
    echo "ending Ray on $login"
    # As the launcher does: host keys are not looked at.
    ssh -n -i "$key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "$login" \
        ". ~/raytune-edge/cluster/node-env.sh && ray stop" ||
        echo "$login did not do it: run 'ray stop' there" >&2
done
