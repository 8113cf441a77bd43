# In the virtual machine, by bluetooth_mail.sh: daemons that meet by Bluetooth.
. /lab/bluetooth_setup.sh
fails=0
check() { local what=$1; shift; if "$@" >/dev/null 2>&1; then echo "ok    $what"; else echo "FAIL  $what"; fails=$((fails + 1)); fi; }
is() { [ "$1" = "$2" ]; }
only() { [[ " $PARTS " == *" $1 "* ]]; }
PARTS=$(cat /lab/parts)
. /lab/settings
LOUD=${LOUD:--q}
O=/lab/out
now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
cp /lab/postrider /tmp/postrider
cp -r /lab/ann /lab/ben /lab/cay /tmp
P() { /tmp/postrider -q --home "/tmp/$1" "${@:2}"; }
declare -A pid
launch() { /tmp/postrider $LOUD --home "/tmp/$1" daemon --no-lan 2>>"$O/$1.log" & pid[$1]=$!; }
answers() { [ -S "/tmp/$1/socket" ] && P "$1" --json status >/dev/null 2>&1; }
start() { launch "$1"; until answers "$1"; do sleep .05; done; }
stop() { kill "${pid[$1]}"; wait "${pid[$1]}"; }
# within SECONDS COMMAND...: a command takes a second here, so it is the clock that ends it.
within() {
  local end=$(($(now_ms) + $1 * 1000))
  shift
  until "$@"; do [ "$(now_ms)" -lt $end ] || return 1; sleep .05; done
}
# there NODE ID [SECONDS]: until a message is in an inbox.
has() { P "$1" --json inbox | grep -q "\"id\":\"$2\""; }
there() { within "${3:-60}" has "$1" "$2"; }
count() { P "$1" --json inbox | grep -c '"type":"message"'; }
ticked() { P "$1" --json trace "$2" | grep -q '"what":"delivered"'; }
until_ticked() { within "${3:-60}" ticked "$1" "$2"; }
descriptors() { ls "/proc/${pid[$1]}/fd" | wc -l; }
resident_kb() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/${pid[$1]}/status"; }
power() { dbus-send --system --print-reply --dest=org.bluez "/org/bluez/$1" org.freedesktop.DBus.Properties.Set string:org.bluez.Adapter1 string:Powered "variant:boolean:$2" >/dev/null; }

# Two rooms, with three controllers and two. The emulator numbers its controllers from one on, so those of the
# second room are its fourth and fifth: two with one address would be one to the kernel.
lab-dbus
bt_settings 'Privacy = device'
room() { # CONTROLLERS LAST
  btvirt -l"$1" >>$O/btvirt.log 2>&1 &
  for _ in $(seq 100); do [ -d /sys/class/bluetooth/"$2" ] && return; sleep .1; done
}
room 3 hci2
room 5 hci7
bt_daemon
for hci in 0 1 2 3 4 5 6 7; do bt_wait hci$hci; done
for hci in 3 4 5; do power hci$hci false; done

if only first; then
  id=$(P ann send ben "before anybody is up")
  launch ann; launch ben
  until answers ann && answers ben; do sleep .05; done
  begun=$(now_ms)
  there ben "$id" 60
  took=$(($(now_ms) - begun))
  echo "      the first message, from when both are up: $took ms (10,000 asked)"
  check "the first message within ten seconds" test $took -le 10000
  check "its receipt" until_ticked ann "$id" 20
  begun=$(now_ms)
  id=$(P ben send ann "and back")
  check "and one back" there ann "$id" 20
  echo "      one more, while the link is up: $(($(now_ms) - begun)) ms"
  check "peers shows the link" sh -c "/tmp/postrider -q --home /tmp/ann --json peers | grep -q bluetooth:"
  stop ann; stop ben
  sleep 6
fi

if only file; then
  # What the channel carries, with nothing else on it, before and after.
  raw() {
    /lab/bluetooth serve hci1 >$O/raw-serve.log 2>&1 & S=$!
    wait_for $O/raw-serve.log '^say' 60
    timeout 60 /lab/bluetooth sink hci0 262144 >>$O/raw.log 2>&1
    kill $S; wait $S
    sleep 6
    sed -n 's/.*intact in .* s, \([0-9]*\) kB\/s.*/\1/p' $O/raw.log | tail -1
  }
  before=$(raw)
  start ann; start ben
  id=$(P ann send ben "is the link up"); there ben "$id" 60; until_ticked ann "$id" 20
  head -c 1048576 /dev/urandom >/tmp/film
  begun=$(now_ms)
  id=$(P ann send ben -f /tmp/film)
  # All of it: a message of which parts are lacking is shown, and cannot be saved.
  rm -rf /tmp/saved; mkdir /tmp/saved
  saves() { P ben inbox save "$id" /tmp/saved >/dev/null 2>&1; }
  within 60 saves
  took=$(($(now_ms) - begun))
  check "1 MiB arrives as it was" cmp /tmp/film /tmp/saved/film
  stop ann; stop ben
  sleep 6
  after=$(raw)
  rate=$((1048576 / took))
  best=$((before > after ? before : after))
  echo "      1 MiB in $took ms, $rate kB/s from command to inbox; the channel alone $before and $after kB/s"
  check "at six tenths of what the channel carries" test $((rate * 10)) -ge $((best * 6))
fi

if only urgent; then
  start ann; start ben
  id=$(P ann send ben "is the link up"); there ben "$id" 60; until_ticked ann "$id" 20
  # When each came, by the clock of this shell: a command takes a second here.
  P ben --json inbox --follow 2>/dev/null | while read -r line; do echo "$(now_ms) $line"; done >/tmp/came & F=$!
  head -c 12582912 /dev/urandom >/tmp/bulk
  bulk=$(P ann send ben --bulk -f /tmp/bulk)
  sleep 4
  for n in 1 2 3; do
    id=$(P ann send ben --urgent "$n: the dam")
    begun=$(now_ms)
    wait_for /tmp/came "\"id\":\"$id\"" 60
    took=$(($(grep "\"id\":\"$id\"" /tmp/came | head -1 | cut -d' ' -f1) - begun))
    echo "      urgent beside 12 MiB: $took ms after it was queued (2,000 asked)"
    check "urgent overtakes bulk ($n)" test $took -le 2000
  done
  rm -rf /tmp/saved; mkdir /tmp/saved
  check "while the bulk is under way" sh -c "! /tmp/postrider -q --home /tmp/ben inbox save $bulk /tmp/saved"
  check "which arrives" until_ticked ann "$bulk" 300
  kill $F
  stop ann; stop ben
  sleep 6
fi

if only line; then
  start ann; start ben; start cay
  there_before=$(count cay); back_before=$(count ann)
  for n in 1 2 3 4 5; do
    to[n]=$(P ann send cay "$n through Ben"); from[n]=$(P cay send ann "$n back through Ben")
  done
  for n in 1 2 3 4 5; do
    check "to the far end ($n)" there cay "${to[n]}" 90
    check "and back ($n)" there ann "${from[n]}" 90
    check "its receipt ($n)" until_ticked ann "${to[n]}" 60
  done
  check "each once" is "$(count cay) $(count ann)" "$((there_before + 5)) $((back_before + 5))"
  stop ann; stop ben; stop cay
  sleep 6
fi

if only half; then
  # The radio goes away in the middle of a file, and there is another link.
  python3 -c 'import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14x", b"lo", 0x41))'
  launch ann
  /tmp/postrider -v --home /tmp/ben daemon --no-lan --listen 'tls://[::1]:7531' 2>"$O/half.log" & pid[ben]=$!
  until answers ann && answers ben; do sleep .05; done
  id=$(P ann send ben "is the link up"); there ben "$id" 60; until_ticked ann "$id" 20
  head -c 12582912 /dev/urandom >/tmp/film
  id=$(P ann send ben -f /tmp/film)
  sleep 5
  power hci0 false
  rm -rf /tmp/saved; mkdir /tmp/saved
  check "half a file is no file" sh -c "! /tmp/postrider -q --home /tmp/ben inbox save $id /tmp/saved"
  P ann call 'tls://[::1]:7531#ben' >/dev/null
  check "the rest comes by another link" until_ticked ann "$id" 60
  power hci0 true
  check "as it was" sh -c "{ /tmp/postrider -q --home /tmp/ben inbox save $id /tmp/saved && cmp /tmp/film /tmp/saved/film; } >$O/save.log 2>&1"
  stop ann; stop ben
  # What came over each link, and over all of them: seals, heads and greetings with it.
  total=0; by=
  for bytes in $(sed -n 's/.*the bytes of a link that ended.*received=\([0-9]*\).*/\1/p' "$O/half.log"); do total=$((total + bytes)); by="$by $bytes"; done
  echo "      12582912 bytes of a file; came over the links:$by, in all $total"
  check "some of it by each" test "$(echo $by | tr ' ' '\n' | awk '$1 > 100000' | wc -l)" -ge 2
  check "hardly any of it twice" test $total -le $((12582912 * 104 / 100))
  sleep 6
fi

if only gatt; then
  # As a telephone: Ben's daemon has no Bluetooth of its own, and a program that speaks GATT.
  start ann
  /tmp/postrider -q --home /tmp/ben daemon --no-lan --no-bluetooth 2>>"$O/ben.log" & pid[ben]=$!
  until answers ben; do sleep .05; done
  to=$(P ben send ann "from a telephone"); back=$(P ann send ben "to a telephone")
  P ben call "pipe:/lab/bluetooth gatt hci1#ann" >$O/call.log 2>&1
  check "mail to the node, over GATT" there ann "$to" 120
  check "and from it" there ben "$back" 120
  until_ticked ben "$to" 60; check "a receipt there" ticked ben "$to"
  until_ticked ann "$back" 60; check "a receipt here" ticked ann "$back"
  stop ben; stop ann
  sleep 8
fi

if only captures; then
  # What a stranger hears and reads, for as many times as something else is said: with each connection.
  btmon -i hci2 -w /tmp/air.snoop >/dev/null 2>&1 & M=$!
  for who in ann ben; do
    # First, as on a machine of its own: what else begins under one BlueZ stands elsewhere in its table.
    start $who
    /lab/bluetooth watch hci2 >>$O/heard.log 2>&1 & W=$!
    for n in 1 2 3 4 5; do
      for _ in 1 2 3; do timeout 60 /lab/bluetooth read hci2 >$O/read.$who.$n 2>$O/read.err && break; sleep 2; done
      sleep 3
    done
    kill $W; wait $W
    stop $who
    sleep 4
  done
  kill $M; wait $M
  python3 /lab/bluetooth_captures.py /tmp/air.snoop 2 $O/read.ann.* -- $O/read.ben.* >$O/captures.log 2>&1; status=$?
  sed 's/^/      /' $O/captures.log
  check "nothing links what a node says and shows now with what it did before" is $status 0
  sleep 4
fi

if only service; then
  start ann; start ben
  id=$(P ann send ben "is the link up"); there ben "$id" 60; until_ticked ann "$id" 20
  sleep 5
  at_ann=$(count ann); at_ben=$(count ben)
  fds="$(descriptors ann) $(descriptors ben)"
  sent=0
  # Both ways, all the time.
  mail() { P ann send ben "$1 there" >>/tmp/there; P ben send ann "$1 back" >>/tmp/back; sent=$((sent + 1)); }
  : >/tmp/there; : >/tmp/back
  idle() { [ "$(P ann --json queue | wc -l) $(P ben --json queue | wc -l)" = "1 1" ]; }
  # The first mail fills memory, mostly with pages of the index: 250 messages each way over any link leave seven
  # megabytes, the 250 after them one, later ones half of that. So these come first; and then as many as there are
  # beside the kills, alone, for what they leave.
  for n in $(seq "$FIRST"); do mail "first $n"; done
  settled() { within 120 idle && sleep 20; }
  settled; before_kb=$(resident_kb ann)
  for n in $(seq $((2 * KILLS + TOGGLES))); do mail "mail $n"; done
  settled; mail_kb=$(resident_kb ann)
  for n in $(seq "$KILLS"); do
    mail "kill $n"
    kill -9 $BLUETOOTHD; wait $BLUETOOTHD 2>/dev/null
    mail "dead $n"
    bt_daemon; bt_wait hci1
    [ $((n % 4)) = 0 ] && sleep 3
  done
  half_kb=$(resident_kb ann)
  for n in $(seq "$TOGGLES"); do
    power hci$((n % 2)) false; mail "toggle $n"; power hci$((n % 2)) true
    [ $((n % 5)) = 0 ] && sleep 3
  done
  power hci0 true; power hci1 true
  settled; after_kb=$(resident_kb ann)
  check "all $sent arrived, once, there" is "$(count ben)" "$((at_ben + sent))"
  check "and back" is "$(count ann)" "$((at_ann + sent))"
  echo "      descriptors $fds before, $(descriptors ann) $(descriptors ben) after; $before_kb kB resident, $mail_kb after as much mail alone, $half_kb after kills, $after_kb after toggles"
  for who in ann ben; do
    was=${fds%% *}; [ $who = ben ] && was=${fds##* }
    check "$who has no descriptor more" test "$(descriptors $who)" -le $((was + 2))
  done
  check "memory grows by no more than 1 MiB" test $((after_kb - mail_kb)) -le 1024
  check "the daemons go on" sh -c "kill -0 ${pid[ann]} ${pid[ben]}"
  stop ann; stop ben
fi
if only bus; then
  start ann; start ben
  id=$(P ann send ben "is the link up"); there ben "$id" 60; until_ticked ann "$id" 20
  fds="$(descriptors ann) $(descriptors ben)"
  for n in 1 2 3; do
    # BlueZ ends with the bus.
    kill "$(cat /run/dbus/pid)"; wait $BLUETOOTHD
    to=$(P ann send ben "$n: without a bus"); from=$(P ben send ann "$n: and back")
    sleep $n
    rm -f /run/dbus/pid
    lab-dbus; bt_daemon; bt_wait hci1
    begun=$(now_ms)
    check "mail after the bus has ended and begun anew ($n)" there ben "$to" 60
    check "and back ($n)" there ann "$from" 60
    echo "      $(($(now_ms) - begun)) ms after BlueZ was there again"
  done
  sleep 20
  echo "      descriptors $fds before, $(descriptors ann) $(descriptors ben) after"
  for who in ann ben; do
    was=${fds%% *}; [ $who = ben ] && was=${fds##* }
    check "$who has no descriptor more" test "$(descriptors $who)" -le $((was + 2))
  done
  stop ann; stop ben
fi
[ $fails != 0 ] && dmesg | grep -q 'general protection fault\|BUG: ' && exit 77
exit $fails
