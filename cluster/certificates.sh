#!/usr/bin/env bash
# Make what encrypts the traffic between the nodes of a Ray cluster: an authority of your own, a certificate a node.
#
#   cluster/certificates.sh FOLDER ADDRESS…     FOLDER/ca.crt, and FOLDER/ADDRESS/{ca.crt,node.crt,node.key} for each
#
# Copy each node's folder to it and start it with MEDIMG_TLS naming that. ca.key makes further certificates: whoever has
# it can pretend to be a node. Keep it off the nodes.
set -euo pipefail

folder=${1:?a folder}
shift
umask 077
mkdir -p "$folder"
if [ ! -f "$folder/ca.key" ]; then
    openssl req -x509 -newkey rsa:3072 -sha256 -days 825 -nodes -subj "/CN=medimg cluster" \
        -addext "basicConstraints=critical,CA:TRUE" -keyout "$folder/ca.key" -out "$folder/ca.crt" 2>/dev/null
fi
for address in "$@"; do
    node="$folder/$address"
    mkdir -p "$node"
    openssl req -newkey rsa:3072 -nodes -subj "/CN=$address" -keyout "$node/node.key" -out "$node/node.csr" 2>/dev/null
    openssl x509 -req -sha256 -days 825 -in "$node/node.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial \
        -extfile <(printf 'subjectAltName=IP:%s,IP:127.0.0.1,DNS:localhost' "$address") -out "$node/node.crt" 2>/dev/null
    cp "$folder/ca.crt" "$node/"
    rm "$node/node.csr"
    echo "$node"
done
