#!/bin/bash
# Three nodes and nothing between them but a LoRa channel, the outer two hidden from each other, a tenth of
# all frames lost, 1 % of the time for each. Real time: some minutes.
#
#   air.sh [BINARY]      TEXTS=12, WAIT=900 s for all of them
. "$(dirname "$0")/common.sh"
needs python3
find_postrider "${1:-}"
exec python3 "$here/air.py" "$POSTRIDER" "${TEXTS:-12}" "${WAIT:-900}"
