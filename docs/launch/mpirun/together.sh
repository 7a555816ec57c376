#!/bin/sh
# Server and clients in one mpirun, the server being rank 0, on the first host: this one.
#
#     together.sh 8 --hostfile hosts
#
# The first argument is the number of clients, the others are for mpirun.
set -eu

clients=$1
shift
DP_TOKEN=$(openssl rand -hex 32)
# The server ends with the run, so nobody comes back to it.
DP_EXIT_ON_DISCONNECT=1
export DP_TOKEN DP_EXIT_ON_DISCONNECT
exec mpirun -x DP_TOKEN -x DP_EXIT_ON_DISCONNECT "$@" \
    -n 1 greeter-server --bind "${DP_BIND:-0.0.0.0}" --workers auto --once : \
    -n "$clients" greeter-client --server "${DP_SERVER:-$(hostname)}"
