# In the virtual machine, by bluetooth.sh: the example program of the transport over a real BlueZ, with two
# controllers that hear each other. It is watched on hci0, and serves on hci1.
. /lab/bluetooth_setup.sh
fails=0
check() { local what=$1; shift; if "$@" >/dev/null 2>&1; then echo "ok    $what"; else echo "FAIL  $what"; fails=$((fails + 1)); fi; }
is() { [ "$1" = "$2" ]; }
B=/lab/bluetooth
O=/lab/out
only() { [ -z "${PARTS:-}" ] || [[ " $PARTS " == *" $1 "* ]]; }
power() { dbus-send --system --print-reply --dest=org.bluez "/org/bluez/$1" org.freedesktop.DBus.Properties.Set string:org.bluez.Adapter1 "string:${3:-Powered}" "variant:boolean:$2" >/dev/null; }
descriptors() { ls "/proc/$1/fd" | wc -l; }
lines() { grep -c -- "$2" "$1"; }
PARTS=$(cat /lab/parts 2>/dev/null)

# What is not there is said, and found when it comes.
bt_settings 'Privacy = device'
$B watch >$O/watch.log 2>&1 & W=$!
check "no bus: it says that the service does not run" wait_for $O/watch.log 'down all NoService' 20
lab-dbus
bt_daemon
check "no adapter: it says so" wait_for $O/watch.log 'down all NoAdapter' 60
bt_two
# One of two controllers that come together is now and then overlooked by BlueZ, until it is started anew.
bt_wait hci0 && bt_wait hci1 || { echo "      BlueZ overlooked a controller"; kill $BLUETOOTHD; wait $BLUETOOTHD; bt_daemon; }
check "adapters that come are used" wait_for $O/watch.log 'up hci0' 60
check "both of them" wait_for $O/watch.log 'up hci1' 20
check "addresses change with what is said, it knows" grep -q 'up hci0.*addresses: Changing' $O/watch.log
name=$(dbus-send --system --print-reply=literal --dest=org.bluez /org/bluez/hci0 org.freedesktop.DBus.Properties.Get string:org.bluez.Adapter1 string:Name | sed 's/^ *variant *//')
check "nobody reads the machine's name" is "$($B alias hci0)" Bluetooth
kill $W; wait $W
check "it ends when it is told to" grep -q '^ended' $O/watch.log
check "and gives the names back" is "$($B alias hci0)" "$name"
$B alias hci0 'Annas Laptop' >/dev/null
$B watch hci0 >$O/named.log 2>&1 & W=$!
check "a name that a person gave is left, and told" wait_for $O/named.log 'up hci0.*Annas Laptop' 60
kill $W; wait $W
check "it is still there" is "$($B alias hci0)" 'Annas Laptop'
$B alias hci0 '' >/dev/null

if only rotation; then
  btmon -w /tmp/air.snoop >/dev/null 2>&1 & M=$!
  $B watch hci0 >$O/heard.log 2>&1 & W=$!
  wait_for $O/heard.log 'up hci0'
  $B serve hci1 3 >$O/rotate.log 2>&1 & S=$!
  wait_for $O/rotate.log '^say' 60
  sleep 32
  kill $S $W; wait $S $W
  kill $M; wait $M
  btmon -r /tmp/air.snoop >/tmp/air.txt 2>&1
  # Pairs of address and bytes: none of either twice in another pair.
  sed -n 's/^heard hci0 \([^ ]*\) \([^ ]*\) \([^ ]*\) .*/\1 \3 \2/p' $O/heard.log | sort -u >$O/pairs
  pairs=$(wc -l <$O/pairs)
  echo "      $(lines $O/rotate.log '^say') times something new was said, $pairs were heard"
  check "at least five were heard" test "$pairs" -ge 5
  check "each under an address of its own" is "$(cut -d' ' -f1 $O/pairs | sort -u | wc -l) $(cut -d' ' -f2 $O/pairs | sort -u | wc -l)" "$pairs $pairs"
  check "all of them random" is "$(cut -d' ' -f3 $O/pairs | sort -u)" Random
  grep -A20 'LE Extended Advertising Report' /tmp/air.txt >$O/reports
  check "there is a record of the air" test -s $O/reports
  check "the controller's own address is never in it" is "$(grep -c '00:AA:01:' $O/reports)" 0
  check "nothing else is said: no name, no service list" is "$(grep -cE 'Name \(|Service UUIDs' $O/reports)" 0
fi

$B serve hci1 >$O/serve.log 2>&1 & S=$!
check "it serves" wait_for $O/serve.log '^say' 60

if only channel; then
  for n in 1 2; do
    check "64 KiB there and back, time $n" sh -c "timeout 90 $B echo hci0 65536 >>$O/dial.log 2>&1"
  done
  check "256 KiB one way" sh -c "timeout 90 $B sink hci0 262144 >>$O/dial.log 2>&1"
  check "256 KiB the other way, to the last byte before the end" sh -c "timeout 90 $B send hci0 262144 >>$O/dial.log 2>&1"
  grep -E 'intact|connected' $O/dial.log | sed 's/^/      /'
fi

if only gatt; then
  check "4 KiB there and back over GATT" sh -c "timeout 90 $B gatt-echo hci0 4096 >>$O/gatt.log 2>&1"
  check "and again" sh -c "timeout 90 $B gatt-echo hci0 1000 >>$O/gatt.log 2>&1"
  grep intact $O/gatt.log | sed 's/^/      /'
  check "both were links" is "$(lines $O/serve.log '^link from.*ended')" "$((0 + $(lines $O/serve.log '^link from .* bluetooth:')))"
fi

if only strangers; then
  sleep 8
  check "no connection is left" is "$(hciconfig >/dev/null; hcitool con | grep -c ACL\\\|LE)" 0
  for n in $(seq 5); do timeout 60 $B echo hci0 500 >>$O/dial.log 2>&1; done
  sleep 8
  echo "      BlueZ remembers $(bt_devices hci0) and $(bt_devices hci1) devices"
  check "BlueZ remembers hardly any stranger" test "$(bt_devices hci1)" -le 2
fi

if only power; then
  before=$(lines $O/serve.log '^up')
  power hci1 false
  check "switched off: it says so" wait_for $O/serve.log 'down Off' 30
  power hci1 true
  for _ in $(seq 300); do [ "$(lines $O/serve.log '^up')" -gt "$before" ] && break; sleep .1; done
  check "switched on: it is used again" test "$(lines $O/serve.log '^up')" -gt "$before"
  check "and can be dialled" sh -c "timeout 90 $B echo hci0 1000 >>$O/dial.log 2>&1"
  sleep 2
  before=$(descriptors $S)
  for n in $(seq 50); do power hci1 false; power hci1 true; done
  sleep 3
  check "after fifty times it can be dialled" sh -c "timeout 90 $B echo hci0 1000 >>$O/dial.log 2>&1"
  sleep 3
  echo "      descriptors: $before before fifty times, $(descriptors $S) after"
  check "no descriptor is left open" test "$(descriptors $S)" -le "$((before + 1))"
  rfkill block bluetooth
  check "blocked: it says so" wait_for $O/serve.log 'down Blocked' 30
  rfkill unblock bluetooth
  sleep 1
  power hci0 true; power hci1 true
  check "unblocked: it can be dialled" sh -c "timeout 90 $B echo hci0 1000 >>$O/dial.log 2>&1"
fi

if only service; then
  before=$(descriptors $S)
  for n in 1 2 3; do
    ups=$(lines $O/serve.log '^up')
    kill -9 $BLUETOOTHD; wait $BLUETOOTHD
    check "the service is killed: it says so ($n)" wait_for $O/serve.log 'down NoService' 30
    sleep 1
    bt_daemon
    for _ in $(seq 300); do [ "$(lines $O/serve.log '^up')" -gt "$ups" ] && break; sleep .1; done
    check "it is back: used again ($n)" test "$(lines $O/serve.log '^up')" -gt "$ups"
  done
  bt_wait hci1
  check "and can be dialled" sh -c "timeout 90 $B echo hci0 1000 >>$O/dial.log 2>&1"
  sleep 3
  echo "      descriptors: $before before three services, $(descriptors $S) after"
  check "no descriptor is left open" test "$(descriptors $S)" -le "$((before + 1))"
fi

if only paired; then
  address=$(hciconfig hci1 | sed -n 's/.*BD Address: \([^ ]*\).*/\1/p')
  power hci1 true Discoverable
  check "two machines are paired, by hand" sh -c "timeout 90 $B pair hci0 $address >$O/pair.log 2>&1"
  check "and have our profile" grep -q 1a78a0c6 $O/pair.log
  before=$(lines $O/serve.log '^link')
  check "256 KiB there and back" sh -c "timeout 90 $B echo hci0 262144 >$O/rfcomm.log 2>&1"
  check "over RFCOMM" grep -q "link from .* Public" $O/serve.log
  check "256 KiB one way" sh -c "timeout 90 $B sink hci0 262144 >>$O/rfcomm.log 2>&1"
  check "256 KiB the other way, to the last byte before the end" sh -c "timeout 90 $B send hci0 262144 >>$O/rfcomm.log 2>&1"
  grep -E 'intact|connected' $O/rfcomm.log | sed 's/^/      /'
fi
kill $S; wait $S
check "it ends when it is told to" grep -q '^ended' $O/serve.log
exit $fails
