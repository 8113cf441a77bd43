#!/bin/bash
# A machine without a desktop: a daemon with no rights of its own asks udisks2 to mount a FAT stick
# with our label, exchanges with it and has it unmounted again. Real USB, udev, D-Bus, polkit and
# udisks2, in a virtual machine.
#
#   udisks.sh [BINARY]      about five minutes; root
. "$(dirname "$0")/common.sh"
needs_root
needs python3 mkfs.vfat apt-get
[ "$(uname -m)" = x86_64 ] || skip "the virtual machine is an x86_64"
find_postrider "${1:-}"
"$here/vm_build.sh" || skip "the virtual machine could not be built"
W=$(mktemp -d -t postrider-udisks.XXXXXX)
trap 'rm -rf "$W"' EXIT
cp "$POSTRIDER" "$W/postrider"
A() { "$W/postrider" -q --home "$W/a" "$@"; }
B() { "$W/postrider" -q --home "$W/b" "$@"; }
A init --name Alice >/dev/null; B init --name Bob >/dev/null
B id --card - | A add - >/dev/null
A id --card - | B add - >/dev/null
# The rule that the text tells people to write.
sed -n '/^polkit\.addRule/,/^});/p' "$top/docs/operations.md" >"$W/rule"
python3 "$here/vm.py" --timeout 900 --put "$W/postrider" --put "$W/a" --put "$W/b" --put "$W/rule" \
  "$here/udisks_guest.sh"
check "the guest's checks" is $? 0
finish
