# Removable media on this machine, as functions to source: loop-mounted ext4, and exFAT through FUSE.
#
#   media_new NAME ext4|exfat SIZE   make an image        media_plug NAME [ro]   mount it
#   media_unplug NAME                unmount it           media_at NAME          where it is mounted
#   media_yank NAME [SECONDS]        it is pulled, after so long: every call fails at once (ext4)
#   media_powercut NAME              the power goes: what was not synced is lost (ext4)
#   media_cleanup                    everything is undone
#
# Needs root. FAT by the kernel needs a virtual machine on many servers: usb.sh.
MEDIA=${MEDIA:-$(mktemp -d /tmp/postrider-media.XXXXXX)}

media_at() { echo "$MEDIA/$1"; }

media_new() {
  truncate -s "$3" "$MEDIA/$1.img"
  mkdir -p "$MEDIA/$1"
  case $2 in
    ext4) mkfs.ext4 -qF -L "$1" "$MEDIA/$1.img" ;;
    exfat) mkfs.exfat -L "$1" "$MEDIA/$1.img" >/dev/null ;;
    *) echo "no $2 here" >&2; return 1 ;;
  esac
}

media_plug() {
  if [ "$(blkid -o value -s TYPE "$MEDIA/$1.img")" = exfat ]; then
    # FUSE wants a block device.
    losetup -f --show "$MEDIA/$1.img" >"$MEDIA/$1.loop"
    mount.exfat-fuse -o "${2:-rw}" "$(cat "$MEDIA/$1.loop")" "$MEDIA/$1" >/dev/null 2>&1
  else
    mount -o loop"${2:+,$2}" "$MEDIA/$1.img" "$MEDIA/$1"
  fi
}

media_unplug() {
  umount "$MEDIA/$1"
  if [ -f "$MEDIA/$1.loop" ]; then
    losetup -d "$(cat "$MEDIA/$1.loop")"
    rm "$MEDIA/$1.loop"
  fi
}

# FS_IOC_SHUTDOWN without a flush: the file system fails every call from now on, and nothing more
# reaches the image. Mounting it again is the reboot.
media_die() {
  python3 -c 'import fcntl, os, struct, sys, time
f = os.open(sys.argv[1], os.O_RDONLY)
time.sleep(float(sys.argv[2]))
fcntl.ioctl(f, 0x8004587D, struct.pack("I", 2))' "$MEDIA/$1" "${2:-0}"
}

media_yank() { media_die "$1" "${2:-0}"; umount -l "$MEDIA/$1"; }
media_powercut() { media_die "$1"; umount "$MEDIA/$1"; }

media_cleanup() {
  local d
  for d in "$MEDIA"/*/; do mountpoint -q "$d" && umount -l "$d"; done
  for d in "$MEDIA"/*.loop; do [ -f "$d" ] && losetup -d "$(cat "$d")"; done
  rm -rf "$MEDIA"
}
