#!/usr/bin/env bash
# Let this host's sticks join the Ray cluster, and stay until the head is gone or this is ended.
# Started by raytune-edge-ncs.service, again and again; by hand: HEAD=10.0.0.1:6379 ./join.sh
#
#   HEAD          host:port of the cluster's head
#   DEVICE        what must be measurable here: MYRIAD (default), or CPU, GPU, NPU
#   NCS_UNITS     devices to offer; by default as many as there are sticks
#   NODE_IP       this host's address as the cluster reaches it, if Ray guesses wrong (a tunnel)
#
# Ray's ports are fixed here, so that a firewall can name them: 6380 to 6385 and 6400 to 6499, from
# the cluster's nodes only.
set -euo pipefail

: "${HEAD:?expected the head as host:port, such as HEAD=10.0.0.1:6379}"
export RAY_AUTH_MODE=token

offer=$(raytune-edge resources ${NCS_UNITS:+--units "$NCS_UNITS"})
if [ "$offer" = "{}" ]; then
    echo "no Neural Compute Stick 2 is plugged in here: looking again soon" >&2
    exit 1
fi
raytune-edge doctor --device "${DEVICE:-MYRIAD}"

# No CPUs and no GPUs to offer: nobody's trials run here, and nothing loads torch. The store of
# objects is small: what travels here is one ONNX file at a time.
exec ray start --block --address="$HEAD" ${NODE_IP:+--node-ip-address="$NODE_IP"} \
    --num-cpus=0 --num-gpus=0 --resources="$offer" \
    --object-store-memory=150000000 --disable-usage-stats --include-log-monitor=false \
    --node-manager-port=6380 --object-manager-port=6381 --runtime-env-agent-port=6382 \
    --dashboard-agent-grpc-port=6383 --metrics-export-port=6384 \
    --dashboard-agent-listen-port=6385 --min-worker-port=6400 --max-worker-port=6499
