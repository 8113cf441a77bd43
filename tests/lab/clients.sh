#!/bin/bash
# Clients that others wrote, from PyPI, at modems without radios; our driver at the modem beside it.
#
#   clients.sh [meshtastic] [rnode]       which (both)
#
# meshtastic  their client sends data and hears ours, over a port and over TCP
# rnode       Reticulum announces itself, is heard, and learns from the same frame sent by our driver
. "$(dirname "$0")/common.sh"
needs python3
find_examples frames modems

# client PACKAGE: a Python that has it, in PYTHON; empty if it cannot be had.
client() {
  local room=${XDG_CACHE_HOME:-$HOME/.cache}/postrider-lab/$1
  PYTHON=$room/bin/python
  "$PYTHON" -c 'pass' 2>/dev/null || python3 -m venv "$room" 2>/dev/null || PYTHON=
  [ -n "$PYTHON" ] && { "$PYTHON" -m pip --quiet show "$1" || "$PYTHON" -m pip --quiet install "$1"; } >/dev/null 2>&1 ||
    PYTHON=
}

[ $# -gt 0 ] || set -- meshtastic rnode
for name in "$@"; do
  case $name in
    meshtastic) package=meshtastic ;;
    rnode) package=rns ;;
    *) echo "there are meshtastic and rnode" >&2; exit 2 ;;
  esac
  client "$package"
  if [ -z "$PYTHON" ]; then echo "skipped: $name: pip cannot fetch $package"; continue; fi
  "$PYTHON" "$here/clients.py" "$EXAMPLES" "$name" || fails=$((fails + 1))
done
[ "$fails" = 0 ]
