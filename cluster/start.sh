#!/usr/bin/env bash
# Start Ray on this machine: as the head of a cluster, or as one more node of it.
#
#   cluster/start.sh head [ADDRESS] [PORT]   the address that the other machines reach (else 127.0.0.1)
#   cluster/start.sh node HEAD:PORT          on every other machine, after copying ~/.ray/auth_token there (mode 0600)
#
# In the environment: MEDIMG_JOBS, a folder that all nodes see at the same path, where submitted jobs run;
# DASHBOARD_PORT (8265) and CLIENT_PORT (10001) of the head; MEDIMG_TLS, a folder with ca.crt, node.crt and node.key that
# cluster/certificates.sh makes: traffic between nodes is encrypted then.
#
# Then, in the study: RAY_ADDRESS=HEAD:PORT dvc repro, or medimg submit. Ray listens on every network interface, its
# dashboard on the head's loopback alone. Who has the token can run code on every node; without it, nobody.
set -euo pipefail

export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
umask 077  # the token is readable by its owner alone
token="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"

if [ -n "${MEDIMG_TLS:-}" ]; then
    for file in ca.crt node.crt node.key; do
        [ -r "$MEDIMG_TLS/$file" ] || { echo "There is no $MEDIMG_TLS/$file: see cluster/certificates.sh" >&2; exit 2; }
    done
    export RAY_USE_TLS=1 RAY_TLS_CA_CERT="$MEDIMG_TLS/ca.crt"
    export RAY_TLS_SERVER_CERT="$MEDIMG_TLS/node.crt" RAY_TLS_SERVER_KEY="$MEDIMG_TLS/node.key"
fi

case "${1:-}" in
head)
    mkdir -p "$(dirname "$token")"
    [ -s "$token" ] || python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$token"
    chmod 600 "$token"
    ray start --head --node-ip-address="${2:-127.0.0.1}" --port="${3:-6379}" --dashboard-host=127.0.0.1 \
        --dashboard-port="${DASHBOARD_PORT:-8265}" --ray-client-server-port="${CLIENT_PORT:-10001}" --disable-usage-stats
    echo "In the study: RAY_ADDRESS=${2:-127.0.0.1}:${3:-6379} dvc repro"
    echo "From elsewhere: ssh -N -L 8265:127.0.0.1:${DASHBOARD_PORT:-8265} ${2:-127.0.0.1} & medimg submit"
    ;;
node)
    : "${2:?the address of the head, such as 10.0.0.1:6379}"
    [ -s "$token" ] || {
        echo "There is no token in $token. Copy it from the head, readable by you alone." >&2
        exit 2
    }
    chmod 600 "$token"
    ray start --address="$2" --disable-usage-stats
    ;;
*)
    sed -n '2,13s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
