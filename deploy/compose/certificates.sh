#!/bin/sh
# An authority, and a certificate for each node of cluster.yaml, in deploy/compose/certs. Run again, it makes what is
# missing. `regente` is the command line: of a checkout, or `docker run --rm -v "$PWD/deploy/compose/certs:/certs" regente/cli`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
regente=${REGENTE:-"$here/../../regente"}
set -- proxy=proxy,localhost,127.0.0.1
for n in 1 2 3; do set -- "$@" "broker-$n=broker-$n" "database-$n=database-$n"; done
for name in console collector scheduler executor delivery alerts; do
  set -- "$@" "$name=$name,$name-1,$name-2"
done
exec $regente certs "$here/certs" --readable "$@"
