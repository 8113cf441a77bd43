#!/bin/bash
# A real FAT stick, as far as there is one without hardware: USB in a virtual machine, by Debian's
# kernel. It is pulled out in the middle of five tosses; nothing may be lost, no other file touched.
#
#   usb.sh [BINARY]      about two minutes; root
. "$(dirname "$0")/common.sh"
needs_root
needs python3 mkfs.vfat apt-get
[ "$(uname -m)" = x86_64 ] || skip "the virtual machine is an x86_64"
find_postrider "${1:-}"
"$here/vm_build.sh" || skip "the virtual machine could not be built"
W=$(mktemp -d -t postrider-usb.XXXXXX)
trap 'rm -rf "$W"' EXIT
cp "$POSTRIDER" "$W/postrider"
A() { "$W/postrider" -q --home "$W/a" "$@"; }
B() { "$W/postrider" -q --home "$W/b" "$@"; }
A init --name Alice >/dev/null; B init --name Bob >/dev/null
B id --card - | A add - >/dev/null
A id --card - | B add - >/dev/null
python3 "$here/vm.py" --timeout 600 --put "$W/postrider" --put "$W/a" --put "$W/b" "$here/usb_guest.sh"
check "the guest's checks" is $? 0
finish
