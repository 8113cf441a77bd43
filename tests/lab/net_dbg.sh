# Live nodes in network namespaces, for drivers to source behind common.sh. Nothing is made outside of
# namespaces whose names begin with this process's number, and all of them go when the driver ends.
#
# Interfaces are called after what is at their other end: "to-b" in the namespace of a.

needs_namespaces() {
  needs ip python3
  ip netns add "pr$$probe" 2>/dev/null || skip "network namespaces are not permitted here"
  ip netns del "pr$$probe"
}
# What translates addresses.
needs_nat() { needs nft; }

W=$(mktemp -d -t postrider-net.XXXXXX)
spaces=()
declare -A daemons=()
# Everything away, for the next scenario.
clear_net() {
  local name space
  for name in "${!daemons[@]}"; do kill "${daemons[$name]}" 2>/dev/null; done
  for name in "${!daemons[@]}"; do stop "$name"; done
  for space in "${spaces[@]}"; do
    # What left this shell, but not the namespace.
    ip netns pids "$space" | xargs -r kill 2>/dev/null
    ip netns del "$space"
  done
  spaces=()
  rm -rf "${W:?}"/* 2>/dev/null || { pause 1; rm -rf "${W:?}"/*; }
}
net_end() {
  clear_net
  rmdir "$W"
}
trap "cp $W/*.log /tmp/flogs/ 2>/dev/null; net_end" EXIT
trap 'exit 130' INT TERM

now_ms() { echo $(( ${EPOCHREALTIME/./} / 1000 )); }
# pause SECONDS: without a process.
pause() { read -rt "$1" <> <(:) || :; }
# P NODE VERB...: of a node whose daemon is starting, its daemon is asked: without a socket the command
# would open the home itself, and be in its way.
P() {
  if [ -n "${daemons[$1]:-}" ]; then
    until [ -S "$W/$1/socket" ]; do
      [ -d "/proc/${daemons[$1]}" ] || break
      pause 0.01
    done
  fi
  "$POSTRIDER" -q --home "$W/$1" "${@:2}"
}
space() { echo "pr$$$1"; }
in_space() { ip netns exec "$(space "$1")" "${@:2}"; }

# make_space NAME [settled]: with the loopback that programs expect. Where it is "settled" addresses
# count at once: the two seconds that a kernel takes to ask for a second owner are not measured.
make_space() {
  local name
  name=$(space "$1")
  ip netns add "$name" && spaces+=("$name")
  ip -n "$name" link set lo up
  in_space "$1" sysctl -qw net.ipv6.conf.default.accept_ra=0
  [ "${2:-}" = settled ] && in_space "$1" sysctl -qw net.ipv6.conf.default.accept_dad=0
  return 0
}
# node NAME...: nodes with a home and a namespace each.
node() {
  local name
  for name in "$@"; do
    P "$name" init --name "$name" >/dev/null
    make_space "$name" "${DAD:-settled}"
  done
}
# A cable between two namespaces, and what may happen to it.
cable() { # A B
  ip link add "to-$2" netns "$(space "$1")" type veth peer name "to-$1" netns "$(space "$2")"
  ip -n "$(space "$1")" link set "to-$2" up; ip -n "$(space "$2")" link set "to-$1" up
}
pull() { ip -n "$(space "$1")" link set "to-$2" down; }
plug() { ip -n "$(space "$1")" link set "to-$2" up; }
unwire() { ip -n "$(space "$1")" link del "to-$2"; }
address() { ip -n "$(space "$1")" addr add "$3" dev "to-$2"; } # NODE OTHER ADDRESS/LENGTH
# A switch: a namespace with a bridge that takes every cable that is put into it.
switch() {
  make_space "$1"
  in_space "$1" sysctl -qw net.ipv6.conf.default.disable_ipv6=1
  ip -n "$(space "$1")" link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
  ip -n "$(space "$1")" link set br0 up
}
attach() { # NODE SWITCH
  cable "$1" "$2"
  ip -n "$(space "$2")" link set "to-$1" master br0
}
# Bytes that went out of and came into an interface.
bytes_on() { # NODE OTHER
  local at="/sys/class/net/to-$2/statistics"
  in_space "$1" cat "$at/tx_bytes" "$at/rx_bytes" | python3 -c 'import sys; print(sum(map(int, sys.stdin)))'
}

# A router between a host's network and the Internet; WAN input is dropped, as those at home do.
#   easy   keeps port numbers where it can, so that others can guess right
#   hard   draws a new port for every connection
#   443    as easy, and lets only TCP to port 443 out
router() { # NAME SWITCH WAN-ADDRESS KIND HOST NUMBER
  local name=$1 net=$2 wan=$3 kind=$4 host=$5 n=$6 how="" only=""
  make_space "$name" settled
  attach "$name" "$net"; address "$name" "$net" "$wan/24"
  cable "$host" "$name"
  address "$host" "$name" "192.168.$n.2/24"; address "$name" "$host" "192.168.$n.1/24"
  ip -n "$(space "$host")" route add default via "192.168.$n.1"
  in_space "$name" sysctl -qw net.ipv4.ip_forward=1
  [ "$kind" = hard ] && how=fully-random
  [ "$kind" = 443 ] && only="iifname \"to-$host\" tcp dport != 443 drop"
  in_space "$name" nft -f - <<END
table ip nat {
  chain in { type filter hook input priority 0; iifname "to-$net" drop; }
  chain through {
    type filter hook forward priority 0;
    $only
    iifname "to-$net" ct state established,related accept
    iifname "to-$net" drop
  }
  chain out { type nat hook postrouting priority 100; oifname "to-$net" masquerade $how; }
}
END
}

know() { # A B: each has the other's card
  P "$2" id --card - | P "$1" add - >/dev/null
  P "$1" id --card - | P "$2" add - >/dev/null
}
setting() { # NODE LINE...: into config.toml, instead of what is said there
  local name=$1 line file="$W/$1/config.toml"
  shift
  for line in "$@"; do
    [ -e "$file" ] && sed -i "/^${line%% *} /d" "$file"
    echo "$line" >>"$file"
  done
}
launch() { # NAME [ARGS...]: a daemon, not waited for
  # No function of ours here: its process would be a shell between us and the daemon.
  ip netns exec "$(space "$1")" "$POSTRIDER" "${LOUD:--q}" --home "$W/$1" daemon "${@:2}" 2>>"$W/$1.log" &
  daemons[$1]=$!
}
start() { # NAME [ARGS...]: until it answers
  launch "$@"
  within 60 answers "$1"
}
answers() { P "$1" --json status >/dev/null 2>&1; }
stop() { # NAME [SIGNAL]
  local pid=${daemons[$1]:-}
  [ -n "$pid" ] || return 0
  kill "-${2:-TERM}" "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
  rm -f "$W/$1/socket"
  unset "daemons[$1]"
}

# within SECONDS COMMAND...: until it succeeds.
within() {
  local end=$(( $(now_ms) + $1 * 1000 ))
  shift
  until "$@"; do
    [ "$(now_ms)" -lt "$end" ] || return 1
    pause 0.02
  done
}
is_in() { P "$1" --json inbox 2>/dev/null | grep -F "\"id\":\"$2\"" | grep -q '"complete":true'; }
# Until a message is in an inbox, or a minute is over.
arrives() { # NODE ID [SECONDS]
  within "${3:-60}" is_in "$1" "$2" && return 0
  tail -n 5 "$W"/*.log >&2
  return 1
}
once() { # NODE ID
  [ "$(P "$1" --json inbox | grep -cF "\"id\":\"$2\"")" = 1 ]
}
# Messages in an inbox, those with the same text for one.
has() { # NODE COUNT
  P "$1" --json inbox >"$W/has" && python3 - "$W/has" "$2" <<'END'
import json, sys
ids = [m["id"] for m in map(json.loads, open(sys.argv[1])) if m.get("complete")]
sys.exit(not (len(ids) == len(set(ids)) == int(sys.argv[2])))
END
}
linked() { # NODE OTHER: whether it has a link to somebody of that name
  P "$1" --json peers 2>/dev/null | grep -F "\"name\":\"$2\"" | grep -q '"up":true'
}
# peer NODE OTHER KEY: of the line of peers about somebody.
peer() { P "$1" --json peers | grep -F "\"name\":\"$2\"" | grep '"up":true' | field "$3"; }
noise() { head -c "$1" /dev/urandom >"$2"; }
same() { # NODE ID FILE: what was sent is what can be saved
  local out="$W/out.$1.$2"
  mkdir -p "$out" && P "$1" inbox save "$2" "$out" >/dev/null && cmp -s "$3" "$out/$(basename "$3")"
  local code=$?
  rm -rf "$out"
  return $code
}
