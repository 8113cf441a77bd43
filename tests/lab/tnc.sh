#!/bin/bash
# Two Direwolfs on a simulated channel and the kiss driver at each: frames both ways, and how many.
#
#   tnc.sh [1200] [9600]        which modems (both)
. "$(dirname "$0")/common.sh"
needs python3 direwolf
find_examples frames
exec python3 "$here/tnc.py" "$EXAMPLES/frames" "$@"
