# In the virtual machine, to source: Bluetooth as a laptop has it, with controllers that hear each other.
# The bus, BlueZ's daemon with its settings, and two controllers: hci0 and hci1 (one daemon serves both).
modprobe -a hci_vhci rfcomm hci_uart 2>/dev/null
dmesg -n 1

# bt_settings [LINE...]: BlueZ's settings; the lines go into [General]. Without further channels for GATT (EATT): BlueZ,
# 5.66 and newer, reads one that has ended again and again (docs/bluetooth.md), and in this slow machine nobody else
# gets a turn then.
bt_settings() {
  mkdir -p /etc/bluetooth
  { echo '[General]'; printf '%s\n' "$@"; printf '[Policy]\nAutoEnable=true\n[GATT]\nChannels=1\n'; } >/etc/bluetooth/main.conf
}
bt_daemon() {
  /usr/libexec/bluetooth/bluetoothd -n >>/lab/out/bluetoothd.log 2>&1 &
  BLUETOOTHD=$!
}
# bt_wait WHAT PATTERN: until BlueZ's objects have it, half a minute at most.
bt_objects() {
  dbus-send --system --print-reply --dest=org.bluez / org.freedesktop.DBus.ObjectManager.GetManagedObjects 2>/dev/null
}
bt_wait() {
  for _ in $(seq 300); do bt_objects | grep -q "$1" && return; sleep .1; done
  return 1
}
# How many devices BlueZ remembers for an adapter.
bt_devices() { bt_objects | grep -c "object path \"/org/bluez/$1/dev_[0-9A-F_]*\""; }
# The controllers of one machine: each hears the other.
bt_two() {
  btvirt -l2 >/lab/out/btvirt.log 2>&1 &
  BTVIRT=$!
  for _ in $(seq 100); do [ -d /sys/class/bluetooth/hci1 ] && break; sleep .1; done
}
# bt_uart [N]: a controller at a serial port, the first unless another is named; the air is outside.
bt_uart() { btattach -B /dev/ttyS$((4 + ${1:-0})) -S 115200 -P h4 >>/lab/out/btattach.log 2>&1 & }

# setup two|uart [SETTING...]
setup() {
  local air=$1
  shift
  lab-dbus
  bt_settings "$@"
  bt_"$air"
  bt_daemon
  bt_wait hci0 && { [ "$air" != two ] || bt_wait hci1; }
}
# wait_for FILE PATTERN [SECONDS]
wait_for() {
  for _ in $(seq $((${3:-60} * 10))); do grep -q -- "$2" "$1" 2>/dev/null && return; sleep .1; done
  return 1
}
