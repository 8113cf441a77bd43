# In the virtual machine, by usb.sh: a FAT stick is plugged, tossed to, and pulled in the middle, five
# times; then the toss completes and another node takes everything. $D: see below.
fails=0
check() { local what=$1; shift; if "$@" >/dev/null 2>&1; then echo "ok    $what"; else echo "FAIL  $what"; fails=$((fails + 1)); fi; }
is() { [ "$1" = "$2" ]; }
dmesg -n 1   # the kernel has much to say about a stick that is gone
lab-udev
modprobe -a usb-storage uas sd_mod vfat nls_ascii nls_utf8 2>/dev/null
cp /lab/postrider /tmp
cp -r /lab/a /lab/b /tmp
mkdir -p /m /tmp/out
A() { /tmp/postrider --home /tmp/a "$@"; }
B() { /tmp/postrider --home /tmp/b "$@"; }
# The stick is an image on the host.
D=$(lab-host sh 'truncate -s 256M s.img; mkfs.vfat -n STICK s.img >/dev/null; pwd' | sed 's/^ok //;q')
n=0
plug() {
  n=$((n + 1))
  lab-host usb-add "s$n" "$D/s.img" >/dev/null
  for _ in $(seq 300); do [ -b /dev/disk/by-label/STICK ] && break; sleep .1; done
  fsck.vfat -a /dev/disk/by-label/STICK >/tmp/fsck 2>&1
  mount -t vfat -o flush /dev/disk/by-label/STICK /m
}
pull() {
  lab-host usb-del "s$n" >/dev/null
  for _ in $(seq 300); do [ -e /dev/disk/by-label/STICK ] || break; sleep .1; done
  umount /m
}
unplug() { umount /m; pull 2>/dev/null; }

plug
mkdir /m/DCIM
head -c 1000000 /dev/urandom >/m/DCIM/IMG_0001.JPG
(cd /m && sha256sum DCIM/IMG_0001.JPG) >/tmp/other
head -c 60000000 /dev/urandom >/tmp/film
text=$(A -q send Bob 'beside the film')
film=$(A -q send Bob -f /tmp/film)
unplug
cut=0
for pull in 1 2 3 4 5; do
  plug
  A toss /m >/tmp/log 2>&1 &
  toss=$!
  # Early at first: once a toss has ended there is nothing more to cut.
  sleep "$((pull > 3 ? RANDOM % 3 : 0)).$((RANDOM % 10))"
  pull
  wait $toss
  code=$?
  echo "      pull $pull: the toss ended with $code: $(grep -m1 error /tmp/log)"
  [ $code != 0 ] && cut=$((cut + 1))
  [ $code -le 12 ] || { echo "FAIL  a pulled stick is no fault of ours"; fails=$((fails + 1)); }
done
check "at least one toss was cut" test $cut -gt 0
plug
A toss /m >/tmp/log 2>&1; check "the next toss finishes" is $? 0
tail -3 /tmp/log
unplug
plug
check "other files on it are untouched" sh -c 'cd /m && sha256sum -c /tmp/other'
B toss /m >/tmp/log 2>&1; check "nothing on it is damaged" is $? 0
cat /tmp/log
B -q inbox save "$film" /tmp/out
check "the film is the same" cmp /tmp/film /tmp/out/film
check "the text is there" sh -c "/tmp/postrider --home /tmp/b inbox read $text | grep -q 'beside the film'"
unplug
plug
A toss /m >/tmp/log 2>&1
check "both receipts came back" grep -q '2 messages of mine arrived' /tmp/log
unplug
exit $fails
