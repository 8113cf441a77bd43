#!/bin/bash
# Builds, once, what vm.py boots: a QEMU of its own, Debian's kernel, a small initramfs and a
# read-only root image with file system tools, udev, udisks2 and BlueZ.
#
#   vm_build.sh [--force]     as root, on Debian; 1 to 3 minutes, about 500 MB in $LAB_CACHE
#
# Why a virtual machine: a stick that is pulled, FAT by the kernel, Bluetooth and a power cut need a
# kernel with those drivers, and one that may be killed. Nothing is installed on the machine but
# mmdebstrap and busybox-static when they are missing; QEMU is unpacked into the cache, so that it
# cannot clash with what is installed.
set -eu
C=${LAB_CACHE:-$HOME/.cache/postrider-lab}
here=$(cd "$(dirname "$0")" && pwd)
stamp=$(sha256sum "$here/vm_build.sh" | cut -c1-16)
[ "${1:-}" != --force ] && [ "$(cat "$C/stamp" 2>/dev/null)" = "$stamp" ] && exit 0
export DEBIAN_FRONTEND=noninteractive
log() { echo "vm_build: $(date +%T) $*" >&2; }

need=
for p in mmdebstrap busybox-static e2fsprogs cpio; do
  dpkg -s $p >/dev/null 2>&1 || need+=" $p"
done
apt-get -qq -o DPkg::Lock::Timeout=300 update >/dev/null
[ -z "$need" ] || apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $need >/dev/null
mkdir -p "$C"
rm -rf "$C/new" "$C/stamp"
mkdir -p "$C/new/deb" "$C/new/qemu"
cd "$C/new"
chmod 755 deb

log "QEMU"
(
  cd deb
  pk=$(apt-get -s install --no-install-recommends qemu-system-x86 2>/dev/null | awk '/^Inst/{print $2}')
  if [ -z "$pk" ]; then
    : >../qemu/use-system
  else
    apt-get -qq download $pk 2>/dev/null
    for d in *.deb; do dpkg -x "$d" ../qemu; done
  fi
  rm -f ./*.deb
)

log "kernel"
# Debian 12 has a newer one beside its own, whose Bluetooth (6.1.192) frees twice when a link is lost.
kp=$(apt-cache depends linux-image-6.12-amd64 linux-image-amd64 2>/dev/null | awk '/Depends: linux-image/{print $2; exit}')
kv=${kp#linux-image-}
(
  cd deb
  apt-get -qq download "$kp" 2>/dev/null
  mkdir ../k
  # Only what a stick, its file systems and Bluetooth need; the rest is most of a gigabyte.
  dpkg-deb --fsys-tarfile ./*.deb | tar -x -C ../k --exclude='*/drivers/gpu' --exclude='*/drivers/net' \
    --exclude='*/drivers/media' --exclude='*/drivers/infiniband' --exclude='*/drivers/staging' \
    --exclude='*/sound' --exclude='*/drivers/isdn' --exclude='*/drivers/iio' --exclude='*/drivers/hwmon' \
    --exclude='./usr/share/*'
  rm -f ./*.deb
)

log "root file system ($kv)"
rel=$(. /etc/os-release; echo "$VERSION_CODENAME")
# The mirror that apt uses here.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Codename: $rel" 'Component: main' 2>/dev/null | head -1)
mmdebstrap --quiet --variant=apt --mode=root --skip=check/empty \
  --include="mount kmod udev util-linux procps python3 dosfstools exfatprogs e2fsprogs dbus polkitd udisks2 \
    bluez bluez-test-tools rfkill" \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  "$rel" "$C/new/root" ${mirror:+"$mirror"} >"$C/build.log" 2>&1 ||
  { tail -20 "$C/build.log" >&2; exit 1; }
mkdir -p root/usr/lib/modules
cp -a k/lib/modules/* root/usr/lib/modules/
cp k/boot/vmlinuz-* vmlinuz
depmod -b root "$kv" 2>/dev/null || chroot root depmod "$kv"
rm -rf root/var/cache/apt/* root/var/lib/apt/lists/*

cat >root/labinit <<'E'
#!/bin/bash
# pid 1 of the machine: mounts, then /lab/run.sh from the shared folder, then power off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t tmpfs run /run
mkdir -p /run/lock /dev/pts /dev/shm /lab
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
modprobe 9pnet_virtio
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 lab /lab
echo "@@up $(cut -d' ' -f1 /proc/uptime)"
bash /lab/run.sh
rc=$?
sync
echo "@@rc $rc"
echo o >/proc/sysrq-trigger
while :; do :; done   # nothing may be read from the disk now
E
cat >root/usr/local/bin/lab-udev <<'E'
#!/bin/sh
# Starts udev: real events, /dev/disk/by-label.
mkdir -p /run/udev
/lib/systemd/systemd-udevd --daemon
udevadm trigger --type=subsystems --action=add
udevadm trigger --type=devices --action=add
udevadm settle --timeout=60
E
cat >root/usr/local/bin/lab-dbus <<'E'
#!/bin/sh
# Starts the system bus, on which BlueZ answers.
mkdir -p /run/dbus /var/lib/dbus
dbus-uuidgen --ensure
dbus-daemon --system --fork
E
cat >root/usr/local/bin/lab-host <<'E'
#!/bin/sh
# lab-host WORDS...: asks vm.py for something (a stick plugged, pulled) and waits for it.
f=/lab/.ack.$$
rm -f $f
echo "@@do $f $*" >/dev/console
i=0
while [ ! -e $f ] && [ $i -lt 600 ]; do sleep .1; i=$((i+1)); done
cat $f
r=$(head -c2 $f)
rm -f $f
[ "$r" = ok ]
E
chmod 755 root/labinit root/usr/local/bin/lab-*

log "images"
mkdir -p ird/bin ird/m ird/proc ird/sys ird/dev ird/ro ird/rw ird/new
cp /bin/busybox ird/bin/
for a in sh mount insmod switch_root mkdir sleep; do ln -s busybox ird/bin/$a; done
i=100
for m in virtio_pci virtio_blk ext4 overlay; do chroot root modprobe -S "$kv" --show-depends $m; done |
  awk '/^insmod/ && !/crc32c-intel/ && !s[$2]++{print $2}' |
  while read -r f; do
    n=$i-$(basename "$f" .xz)
    case $f in *.xz) busybox unxz -c "root$f" >"ird/m/$n" ;; *) cp "root$f" "ird/m/$n" ;; esac
    i=$((i+1))
  done
cat >ird/init <<'E'
#!/bin/sh
mount -t proc p /proc
mount -t sysfs s /sys
mount -t devtmpfs d /dev
for m in /m/*.ko; do insmod $m; done
n=0
while [ ! -b /dev/vda ] && [ $n -lt 200 ]; do sleep 0.05; n=$((n+1)); done
mount -t ext4 -o ro,noload /dev/vda /ro
mount -t tmpfs -o size=70% t /rw
mkdir /rw/u /rw/w
mount -t overlay -o lowerdir=/ro,upperdir=/rw/u,workdir=/rw/w o /new
mount --move /dev /new/dev
mount --move /proc /new/proc
mount --move /sys /new/sys
exec switch_root /new /labinit
E
chmod +x ird/init
(cd ird; find . | cpio -o -H newc --quiet | gzip -1) >initrd.gz
mke2fs -q -F -t ext4 -O ^has_journal,^metadata_csum -m 0 -d root root.img "$(( $(du -sm root | cut -f1) * 12 / 10 + 60 ))M"
rm -rf root k ird deb
for f in qemu vmlinuz initrd.gz root.img; do rm -rf "${C:?}/$f"; mv "$f" "$C/$f"; done
cd "$C"
rm -rf new
echo "$stamp" >stamp
log "done: $(du -sh "$C" | cut -f1) in $C"
