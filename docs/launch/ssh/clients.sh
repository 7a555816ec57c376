#!/bin/sh
# Starts a client on each host of a list, over ssh, and ends with them:
#
#     greeter-server --bind 0.0.0.0 --workers 6 --launch 'clients.sh hosts'
#
# Each line of the list is a host, and how many workers it is to have (1 if nothing is said). The server's
# address and the token are in the environment, DP_SERVER and DP_TOKEN, as `--launch` has them. The token
# goes to the hosts by standard input, never by a command line, which everybody there could read.
#
# DP_CLIENT is the client's program on the hosts, DP_SSH the ssh with its options.
set -eu

list=$1
client=${DP_CLIENT:-greeter-client}
: "${DP_SERVER:?where the server is}"
pipes=$(mktemp -d)
trap 'rm -rf "$pipes"' EXIT
trap 'exit 143' TERM INT HUP
# Ends when whoever started this does.
exec 3<&0

# quoted TEXT: as one word of a shell.
quoted() {
    printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"
}

# start HOST WORKERS RANK
start() {
    remote="read -r DP_TOKEN; export DP_TOKEN; exec env DP_SERVER=$(quoted "$DP_SERVER")"
    remote="$remote DP_ID=$(quoted "$1") DP_RANK=$3 DP_CLIENT_WORKERS=$2"
    remote="$remote DP_CONNECT_FOR=${DP_CONNECT_FOR:-60} DP_RECONNECT_FOR=${DP_RECONNECT_FOR:-60}"
    # Its input stays open while this lives. A killed ssh leaves what it has started alive, but not this.
    remote="$remote $(quoted "$client") --exit-on-stdin-eof"
    mkfifo "$pipes/$3"
    { printf '%s\n' "${DP_TOKEN:-}"; exec cat; } <&3 >"$pipes/$3" &
    input=$!
    status=0
    # shellcheck disable=SC2086  # DP_SSH is several words
    ${DP_SSH:-ssh} -o BatchMode=yes "$1" "$remote" <"$pipes/$3" || status=$?
    kill "$input" 2>/dev/null || true
    return "$status"
}

rank=0
clients=
while read -r host workers rest; do
    case $host in '' | '#'*) continue ;; esac
    start "$host" "${workers:-1}" "$rank" &
    clients="$clients $!"
    rank=$((rank + 1))
done <"$list"

failed=0
for started in $clients; do
    wait "$started" || failed=1
done
exit "$failed"
