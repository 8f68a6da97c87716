#!/usr/bin/env bash
# A cluster of four nodes on this machine alone, to try out what runs on several: a head that runs
# no trials, two trainers, and a host with one device (`ncs`: this machine's CPU).
#
#   cluster/local.sh start     # ends with the line to put into your script's environment
#   cluster/local.sh status
#   cluster/local.sh stop      # ends what start started, and no other Ray of this machine
#
# FILL IN   nothing; PORT (6399), TRAINERS (2), CPUS of a trainer (1) and NCS_UNITS (1) may be set.
# COSTS     about 1.5 GB of memory and a few percent of a core, until stop.
set -euo pipefail

port=${PORT:-6399}
address=127.0.0.2:$port # not 127.0.0.1, in whose place Ray puts the machine's own address
folder=${XDG_RUNTIME_DIR:-/tmp}/raytune-edge-local-$(id -u)-$port
here=$(cd "$(dirname "$0")/.." && pwd)
export PATH=$PATH:$here/.venv/bin RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$folder/token
export RAY_raylet_start_wait_time_s=120 # a busy machine is slow, and not broken

# `ray stop` would end every Ray here: our own processes have a mark in their environment. Numbers of
# processes or sessions would not do, as they are given to others after a reboot.
node() {
    local name=$1
    shift
    echo "starting the node $name"
    setsid --wait env RAYTUNE_EDGE_LOCAL="$(cat "$folder/mark")" ray start \
        --node-ip-address="${address%:*}" --temp-dir="$folder/ray" --disable-usage-stats \
        --min-worker-port=0 --max-worker-port=0 --object-store-memory=200000000 \
        "$@" >"$folder/$name.log" 2>&1 </dev/null || {
        cat "$folder/$name.log" >&2
        echo "the node $name did not start: see above; ending the others" >&2
        stop
        exit 1
    }
}

random() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

ours() {
    [ -e "$folder/mark" ] || return 0
    # It fails where a process has ended meanwhile, and where none has the mark.
    { grep -lszxF "RAYTUNE_EDGE_LOCAL=$(cat "$folder/mark")" /proc/[0-9]*/environ || true; } |
        cut -d/ -f3
}

running() {
    [ -n "$(ours)" ]
}

start() {
    if running; then
        echo "it runs already, on port $port; end it with: $0 stop" >&2
        exit 1
    fi
    rm -rf "$folder"
    mkdir -m 700 "$folder"
    (umask 077 && random >"$folder/token" && random >"$folder/mark")
    local trainers=${TRAINERS:-2} index
    node head --head --port="$port" --num-cpus=0 --num-gpus=0 --include-dashboard=false
    for ((index = 1; index <= trainers; index++)); do
        node "trainer$index" --address="$address" --num-cpus="${CPUS:-1}"
    done
    node ncs --address="$address" --num-cpus=0 --num-gpus=0 \
        --resources="$(raytune-edge resources --units "${NCS_UNITS:-1}")"
    echo "export RAY_ADDRESS=$address RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$folder/token"
}

# With all of their sessions: some of Ray's processes write a title over their environment.
stop() {
    local signal pids sessions
    pids=$(ours | paste --serial --delimiters=,)
    sessions=$([ -z "$pids" ] || ps -o sid= --pid "$pids" | tr -d ' ' | sort --unique | paste -sd,)
    for signal in TERM KILL; do
        [ -n "$sessions" ] || break
        pkill "-$signal" --session "$sessions" || break
        for _ in $(seq 40); do
            pgrep --session "$sessions" >/dev/null || break
            sleep 0.25
        done
    done
    rm -rf "$folder"
}

case ${1:-} in
start | stop) "$1" ;;
status)
    if running; then
        RAY_ADDRESS=$address ray status
    else
        echo "no cluster of $0 runs on port $port"
    fi
    ;;
*)
    echo "usage: $0 start | status | stop" >&2
    exit 2
    ;;
esac
