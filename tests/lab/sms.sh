#!/bin/bash
# Telephones without a network: gammu at one and our driver at the other.
#
#   sms.sh
. "$(dirname "$0")/common.sh"
needs python3 gammu
find_examples frames
exec python3 "$here/sms.py" "$EXAMPLES/frames"
