#!/bin/bash
# Two Direwolfs on a simulated channel and the kiss driver at each: frames both ways, and how many.
#
#   tnc.sh [1200] [9600] [mail]     which modems; a text between two daemons (all)
#   POSTRIDER=BINARY                of which mail is tried (the newest build)
. "$(dirname "$0")/common.sh"
needs python3 direwolf
find_examples frames
find_postrider
export POSTRIDER
exec python3 "$here/tnc.py" "$EXAMPLES/frames" "$@"
