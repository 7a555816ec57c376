#!/bin/sh
# The server here, and clients wherever mpirun starts them:
#
#     run.sh 8 --hostfile hosts
#
# The first argument is their number, the others are for mpirun.
set -eu

clients=$1
shift
exec greeter-server --bind "${DP_BIND:-0.0.0.0}" --workers "$clients" --once \
    --launch "mpirun -n $clients -x DP_SERVER -x DP_TOKEN -x DP_CONNECT_FOR -x DP_RECONNECT_FOR \
        $* greeter-client"
