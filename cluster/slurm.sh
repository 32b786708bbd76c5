#!/usr/bin/env bash
# Ray inside a Slurm allocation, and the study on it: sbatch cluster/slurm.sh [COMMAND…], in the study's folder, which all
# nodes see. Default: dvc repro. Ask Slurm for what params.yaml names under cluster: one task a node, its CPUs and GPUs.
# In the environment: MEDIMG_ADDRESS, of the first node, where it has several and the others do not reach the first of them;
# MEDIMG_START_SECONDS (300) that Ray may take to start.
#SBATCH --job-name=medimg
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --output=.medimg/slurm-%j.log
#SBATCH --signal=B:TERM@120
set -euo pipefail
umask 077

cpus=${SLURM_CPUS_PER_TASK:-1}
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
folder=$PWD/.medimg/slurm-$SLURM_JOB_ID
mkdir -p "$folder"
export RAY_AUTH_TOKEN_PATH=$folder/token # of this allocation alone, read by its owner alone
python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH"

temporary=/tmp/medimg-$SLURM_JOB_ID # on each node; a short path, for sockets
logs=$PWD/.medimg/logs/slurm-$SLURM_JOB_ID
mkdir -p "$logs"
steps=()
finish() {
    local status=$?
    kill "${steps[@]}" 2>/dev/null || true
    wait "${steps[@]}" 2>/dev/null || true
    timeout 20 srun --overlap --nodes="$SLURM_NNODES" --ntasks-per-node=1 rm -rf "$temporary" 2>/dev/null || true
    rm -rf "$folder" "$temporary"
    if [ "$status" = 0 ]; then rm -rf "$logs"; else echo "What Ray said on each node is in $logs" >&2; fi
}
trap finish EXIT
trap 'echo "Slurm ends the allocation; submit once more, and training goes on from its last checkpoint" >&2; exit 143' TERM

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
# of all its addresses, since its name may mean 127.0.1.1 to itself, as on Debian
address=${MEDIMG_ADDRESS:-$(srun --overlap --nodes=1 --ntasks=1 --nodelist="${nodes[0]}" hostname --all-ip-addresses |
    tr ' ' '\n' | awk '/^[0-9.]+$/ && !/^(127|169\.254)\./ {print; exit}')}
if [ -z "$address" ] && [ ${#nodes[@]} -eq 1 ]; then address=127.0.0.1; fi # it has no network, and needs none
[ -n "$address" ] || { echo "${nodes[0]} has no IPv4 address that others reach: set MEDIMG_ADDRESS" >&2; exit 1; }
port=$((20000 + SLURM_JOB_ID % 20000)) # two allocations may share a node

start() { # node, the rest of ray start
    local node=$1
    shift
    srun --overlap --nodes=1 --ntasks=1 --nodelist="$node" --cpus-per-task="$cpus" \
        ray start --block --disable-usage-stats --num-cpus="$cpus" ${SLURM_GPUS_ON_NODE:+--num-gpus="$SLURM_GPUS_ON_NODE"} \
        "$@" >"$logs/$node.log" 2>&1 &
    steps+=($!)
}

start "${nodes[0]}" --head --node-ip-address="$address" --port="$port" --temp-dir="$temporary" --include-dashboard=false
limit=$((SECONDS + ${MEDIMG_START_SECONDS:-300}))
until timeout 30 ray health-check --address "$address:$port" >/dev/null 2>&1; do
    if [ $SECONDS -ge $limit ] || ! kill -0 "${steps[0]}" 2>/dev/null; then
        echo "Ray's head did not start at $address:$port:" >&2
        tail -n 5 "$logs/${nodes[0]}.log" >&2
        exit 1
    fi
    sleep 1
done
for node in "${nodes[@]:1}"; do start "$node" --address="$address:$port"; done
echo "Ray at $address:$port on ${#nodes[@]} nodes" >&2

export RAY_ADDRESS=$address:$port
if [ $# -eq 0 ]; then set -- dvc repro; fi
"$@" &
wait $!
