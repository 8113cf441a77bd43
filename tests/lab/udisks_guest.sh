# In the virtual machine, by udisks.sh: sticks that nobody mounts are plugged into a machine where a
# daemon runs as a user without rights. Alice's node runs there; Bob writes the sticks. $D: see below.
fails=0
check() { local what=$1; shift; if "$@" >/dev/null 2>&1; then echo "ok    $what"; else echo "FAIL  $what"; fails=$((fails + 1)); fi; }
is() { [ "$1" = "$2" ]; }
dmesg -n 1
lab-udev
modprobe -a usb-storage uas sd_mod vfat nls_ascii nls_utf8 2>/dev/null
cp /lab/postrider /tmp
cp -r /lab/b /tmp
echo 'postrider:x:990:990::/home/postrider:/bin/sh' >>/etc/passwd
echo 'postrider:x:990:' >>/etc/group
mkdir -p /m /home/postrider /run/dbus
cp -r /lab/a /home/postrider/a
chown -R 990:990 /home/postrider
sed -i 's/^outbox = true/outbox = false/; s/^ygg = true/ygg = false/' /home/postrider/a/config.toml
dbus-daemon --system --fork
# Started by hand, so that it can be stopped: D-Bus would start it again.
mv /usr/share/dbus-1/system-services/org.freedesktop.UDisks2.service /tmp
udisks_up() { /usr/libexec/udisks2/udisksd --no-debug >/tmp/udisksd 2>&1 & udisksd=$!; until_true 300 udisksctl status; }
/usr/lib/polkit-1/polkitd --no-debug >/tmp/polkitd 2>&1 &

# until_true TENTHS COMMAND...: waits for it.
until_true() { local n=$1; shift; while ! "$@" >/dev/null 2>&1; do n=$((n - 1)); [ $n -gt 0 ] || return 1; sleep .1; done; }
as_user() { setpriv --reuid 990 --regid 990 --clear-groups env HOME=/home/postrider "$@"; }
A() { as_user /tmp/postrider --home /home/postrider/a "$@"; }
has() { A inbox | grep -q "$1"; }
says_nothing() { ! A status | grep -q unmounted; }
not_mounted() { ! mounted; }
B() { /tmp/postrider --home /tmp/b "$@"; }
# said WHAT [WORDS]: how often the daemon said so.
said() { grep "\"what\":\"$1\"" /tmp/log | grep -c "${2:-}"; }
# more WHAT TIMES [WORDS]
more() { [ "$(said "$1" "${3:-}")" -gt "$2" ]; }
waits() { A --json status | grep -q '"state":"unmounted"'; }
mounted() { grep -q ' - vfat ' /proc/self/mountinfo; }

D=$(lab-host sh 'truncate -s 64M s.img o.img; mkfs.vfat -n POSTRIDER s.img >/dev/null; mkfs.vfat -n HOLIDAY o.img >/dev/null; pwd' | sed 's/^ok //;q')
n=0
plug() { n=$((n + 1)); lab-host usb-add "s$n" "$D/${1:-s}.img" >/dev/null; until_true 300 [ -b "/dev/disk/by-label/${2:-POSTRIDER}" ]; }
pull() { lab-host usb-del "s$n" >/dev/null; until_true 300 [ ! -e "/dev/disk/by-label/${1:-POSTRIDER}" ]; }
# by_hand: where the daemon's user cannot look
by_hand() { mount -t vfat -o flush,umask=077 /dev/disk/by-label/POSTRIDER /m; B -q toss /m >/dev/null; umount /m; }
write() { # TEXT [FILE]: Bob's
  if [ -n "${2:-}" ]; then B -q send Alice -f "$2" >/dev/null; else B -q send Alice "$1" >/dev/null; fi
  plug; by_hand; pull
}

write 'first'
check "udisks2 runs" udisks_up
A daemon --no-lan --log json 2>/tmp/log &
check "the daemon runs" until_true 300 A log

plug
check "without a rule polkit refuses, and status says so" until_true 300 waits
A status
check "with the reason" grep -q 'may not, says polkit' /tmp/log
check "nothing was mounted" not_mounted
pull
check "and forgets it when it is pulled out" until_true 100 says_nothing

cp /lab/rule /etc/polkit-1/rules.d/50-postrider.rules
sleep 3 # polkit reads it
plug
began=$EPOCHSECONDS
check "with the rule of the manual it is mounted, visited and unmounted" until_true 400 more safe-to-remove 0 unmounted
echo "      $((EPOCHSECONDS - began)) s after udev saw it"
grep -E 'media-seen|safe-to-remove' /tmp/log | tail -2
check "the message is there" has first
check "it is not mounted any more" not_mounted
sleep 8
check "and not mounted again" is "$(said media-seen)" 1
A -q send Bob 'answer' >/dev/null
pull
plug
check "plugged in again it is visited again" until_true 400 more safe-to-remove 1 unmounted
pull

plug o HOLIDAY
sleep 6
check "another label is left alone" is "$(said media-seen)" 2
check "and not mounted" not_mounted
check "and not spoken of" sh -c "! grep -q HOLIDAY /tmp/log"
pull HOLIDAY

plug
as_user udisksctl mount --no-user-interaction -b /dev/disk/by-label/POSTRIDER >/dev/null
check "what somebody else mounts at once is visited" until_true 400 more safe-to-remove 2
sleep 4
check "and stays mounted" mounted
as_user udisksctl unmount --no-user-interaction -b /dev/disk/by-label/POSTRIDER >/dev/null
sleep 4
check "and is not mounted when they unmount it" not_mounted
pull

kill $udisksd; wait $udisksd 2>/dev/null
write 'second'
plug
check "without udisks2 status says seen and not mounted" until_true 300 waits
A status
A --json status | grep -o '"media":.*'
check "with the reason, once" is "$(grep -c 'udisks2 does not answer' /tmp/log)" 1
udisks_up
check "when it came up late it is asked once more" until_true 400 more safe-to-remove 2 unmounted
check "the second message is there" has second
check "status has nothing to say any more" says_nothing
pull
check "what was unmounted is clean" lab-host sh 'fsck.vfat -n s.img'

head -c 12000000 /dev/urandom >/tmp/film
write '' /tmp/film
seen=$(said media-seen)
plug
until_true 400 more media-seen "$seen"
pull
check "one that is pulled out in the middle stays mounted nowhere" until_true 300 not_mounted
safe=$(said safe-to-remove unmounted)
plug
check "and is visited when it comes back" until_true 600 more safe-to-remove "$safe" unmounted
film=$(A --json inbox | sed -n 's/.*"id":"\([0-9a-f]*\)".*"name":"film".*/\1/p')
mkdir -m 777 /tmp/out
check "with all that is on it" A inbox save "$film" /tmp/out
check "and nothing else" cmp /tmp/film /tmp/out/film
pull

A down >/dev/null
plug; by_hand
check "what was left on it for Bob is whole" sh -c "/tmp/postrider --home /tmp/b inbox | grep -q answer"
pull
[ $fails = 0 ] || { cat /tmp/log; cat /tmp/udisksd; cat /tmp/polkitd; }
exit $fails
