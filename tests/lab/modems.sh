#!/bin/bash
# Two nodes and nothing between them but modems that are spoken to in lines.
#
#   modems.sh [BINARY] [rylr998] [sms] [hayes]       which modems (all)
. "$(dirname "$0")/common.sh"
needs python3
binary=
case ${1:-} in "" | rylr998 | sms | hayes) ;; *) binary=$1; shift ;; esac
find_postrider "$binary"
find_examples modems
exec python3 "$here/modems.py" "$POSTRIDER" "$EXAMPLES" "$@"
