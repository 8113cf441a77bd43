#!/bin/bash
# Mail between daemons over Bluetooth: a real BlueZ and a real kernel with emulated controllers, in a virtual
# machine. Nobody is paired, and nothing is set up.
#
#   bluetooth_mail.sh [BINARY] [PART...]    first file urgent line half gatt captures service bus; root; some
#                                           twenty minutes, all
#   KILLS=20 TOGGLES=50 FIRST=400           of bluetoothd, of an adapter, while mail goes both ways; before that so
#                                           many messages each way, and then as many as with kills, alone
#   LOGS=DIR LOUD=-v                        keeps what was logged; and more is
. "$(dirname "$0")/common.sh"
needs_root
needs python3 apt-get strip
[ "$(uname -m)" = x86_64 ] || skip "the virtual machine is an x86_64"
binary=
case ${1:-} in "" | first | file | urgent | line | half | gatt | captures | service | bus) ;; *) binary=$1; shift ;; esac
find_postrider "$binary"
parts="${*:-first file urgent line half gatt captures service bus}"
case $parts in *file* | *gatt* | *captures*) find_examples bluetooth ;; *) EXAMPLES= ;; esac
"$here/vm_build.sh" || skip "the virtual machine could not be built"
W=$(mktemp -d -t postrider-bluetooth.XXXXXX)
trap 'rm -rf "$W"' EXIT
strip -o "$W/postrider" "$POSTRIDER"
[ -z "$EXAMPLES" ] && : >"$W/bluetooth" || strip -o "$W/bluetooth" "$EXAMPLES/bluetooth"
P() { "$W/postrider" -q --home "$W/$1" "${@:2}"; }
# Ann has hci0, Ben hci1 and hci6, Cay hci7; hci0 to hci2 hear each other, and hci6 and hci7 do. A stranger has
# hci2; what one can do who opens links is in bluetooth_strangers.py.
for who in ann ben cay; do
  P $who init --name $who >/dev/null
  P $who id --card "$W/$who.card" >/dev/null
  sed -i 's/^media = .*/media = false/' "$W/$who/config.toml"
done
for pair in ann:ben ben:ann ben:cay cay:ben ann:cay cay:ann; do P ${pair%:*} add "$W/${pair#*:}.card" >/dev/null; done
adapters() { printf '\n[bluetooth]\nprofile = "quick"\nadapters = [%s]\n' "$2" >>"$W/$1/config.toml"; }
adapters ann '"hci0"'; adapters ben '"hci1", "hci6"'; adapters cay '"hci7"'
printf 'KILLS=%s\nTOGGLES=%s\nFIRST=%s\nLOUD=%s\n' "${KILLS:-20}" "${TOGGLES:-50}" "${FIRST:-400}" "${LOUD:-}" >"$W/settings"
# guest PART...: in a machine of their own.
guest() {
  echo "$*" >"$W/parts"
  python3 "$here/vm.py" --timeout 2400 --put "$W/postrider" --put "$W/bluetooth" --put "$W/parts" --put "$W/settings" --put "$W/ann" --put "$W/ben" \
    --put "$W/cay" --put "$here/bluetooth_setup.sh" --put "$here/bluetooth_captures.py" --out "${LOGS:-$W/out}" "$here/bluetooth_mail_guest.sh" |
    tee "$W/console" | sed -u '/Oops: /,$d'
  code=${PIPESTATUS[0]}
  # Linux 6.1 can fault when a channel is closed while its connection ends, and 6.12 lost count of a page when
  # bluetoothd was killed; what follows then proves nothing.
  if [ $code != 0 ] && grep -q 'Oops: ' "$W/console" && ! grep -q '^FAIL' "$W/console"; then code=77; fi
  [ $code = 77 ] && skip "the kernel of the machine itself has faulted, in its Bluetooth"
  check "the guest's checks" is $code 0
}
# BlueZ reckons the hash over a table only where somebody is to be told of changes to it: after much else for one node
# and not for the other, which says nothing of either.
case " $parts " in *" captures "*) guest captures ;; esac
others=${parts/captures/}
[ -z "${others// /}" ] || guest $others
finish
