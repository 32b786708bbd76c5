#!/usr/bin/env bash
# Start Ray on this machine: as the head of a cluster, or as one more node of it.
#
#   cluster/start.sh head [ADDRESS] [PORT]   the address that the other machines reach (else 127.0.0.1)
#   cluster/start.sh node HEAD:PORT          on every other machine, after copying ~/.ray/auth_token there (mode 0600)
#
# Then, in the study: RAY_ADDRESS=HEAD:PORT dvc repro. Ray listens on every network
# interface. Who has the token can run code on every node; without it, nobody.
set -euo pipefail

export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
umask 077  # the token is readable by its owner alone
token="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"

case "${1:-}" in
head)
    mkdir -p "$(dirname "$token")"
    [ -s "$token" ] || python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$token"
    chmod 600 "$token"
    ray start --head --node-ip-address="${2:-127.0.0.1}" --port="${3:-6379}" --include-dashboard=false \
        --disable-usage-stats
    echo "In the study: RAY_ADDRESS=${2:-127.0.0.1}:${3:-6379} dvc repro"
    ;;
node)
    : "${2:?the address of the head, such as 10.0.0.1:6379}"
    [ -s "$token" ] || {
        echo "There is no token in $token. Copy it from the head, readable by you alone." >&2
        exit 2
    }
    ray start --address="$2" --disable-usage-stats
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
