#!/usr/bin/env bash
# Let this host's devices join the Ray cluster, and stay until the head is gone or this is ended.
# Started by raytune-edge-ncs.service, again and again; by hand: HEAD=10.0.0.1:6379 ./join.sh
#
#   --launched    as `ray up` needs it: don't stay, and train where there is no device to offer
#
# FILL IN   by the environment:
#   HEAD          host:port of the cluster's head
#   DEVICE        what should be measurable here: MYRIAD (default), or CPU, GPU, NPU
#   NCS_UNITS     devices to offer; by default as many as there are sticks
#   NODE_IP       this host's address as the cluster reaches it, if Ray guesses wrong (a tunnel)
# COSTS     about 0.4 GB of memory while it runs.
#
# Ray's ports are fixed here, so that a firewall can name them: 6380 to 6385 and 6400 to 6499, from
# the cluster's nodes only.
set -euo pipefail

: "${HEAD:?expected the head as host:port, such as HEAD=10.0.0.1:6379}"
export RAY_AUTH_MODE=token
if [ -n "${CREDENTIALS_DIRECTORY:-}" ]; then
    export RAY_AUTH_TOKEN_PATH=$CREDENTIALS_DIRECTORY/token # from systemd
fi
start=(ray start --address="$HEAD" ${NODE_IP:+--node-ip-address="$NODE_IP"} --disable-usage-stats)
stay=(--block)
if [ "${1:-}" = --launched ]; then
    stay=()
fi

# First, as the doctor boots and measures every stick: not each time while there is no head.
# shellcheck disable=SC2016  # expanded by the inner shell
if ! timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "${HEAD%:*}" "${HEAD##*:}" 2>/dev/null; then
    echo "no head answers at $HEAD: looking again soon" >&2
    exit 1
fi
offer=$(raytune-edge resources ${NCS_UNITS:+--units "$NCS_UNITS"})
if [ "$offer" = "{}" ]; then
    if [ "${1:-}" = --launched ]; then
        exec "${start[@]}"
    fi
    echo "no Neural Compute Stick 2 is plugged in here: looking again soon" >&2
    exit 1
fi

# For the log. A device that does not measure keeps no other one out: the pool tries each by
# itself, and tells the driver why one is in quarantine.
raytune-edge doctor --device "${DEVICE:-MYRIAD}" ||
    echo "not all is well here, see above; this host joins with $offer" >&2

# No CPUs and no GPUs to offer: nobody's trials run here, and nothing loads torch. The store of
# objects is small: what travels here is one ONNX file at a time.
exec "${start[@]}" "${stay[@]}" --num-cpus=0 --num-gpus=0 --resources="$offer" \
    --object-store-memory=150000000 --include-log-monitor=false \
    --node-manager-port=6380 --object-manager-port=6381 --runtime-env-agent-port=6382 \
    --dashboard-agent-grpc-port=6383 --metrics-export-port=6384 \
    --dashboard-agent-listen-port=6385 --min-worker-port=6400 --max-worker-port=6499
