#!/bin/bash
# Bluetooth by a real BlueZ and a real kernel, with emulated controllers, in a virtual machine: two of them
# in one machine hear each other. What the transport promises is asked of its example program.
#
#   bluetooth.sh [PART...]     rotation channel gatt strangers power service paired; root; some four minutes
#   LOGS=DIR                   keeps what was logged
. "$(dirname "$0")/common.sh"
needs_root
needs python3 apt-get strip
[ "$(uname -m)" = x86_64 ] || skip "the virtual machine is an x86_64"
find_examples bluetooth
"$here/vm_build.sh" || skip "the virtual machine could not be built"
W=$(mktemp -d -t postrider-bluetooth.XXXXXX)
trap 'rm -rf "$W"' EXIT
strip -o "$W/bluetooth" "$EXAMPLES/bluetooth"
echo "$*" >"$W/parts"
python3 "$here/vm.py" --timeout 900 --put "$W/bluetooth" --put "$W/parts" --put "$here/bluetooth_setup.sh" \
  --out "${LOGS:-$W/out}" "$here/bluetooth_guest.sh"
check "the guest's checks" is $? 0
finish
