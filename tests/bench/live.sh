#!/bin/bash
# Two daemons on loopback beside what people use today: the same work in the same run, turn by turn,
# so that whatever else the machine does falls on both. Medians; ratios.
#
#   live.sh [CASE]...      cases: big small latency job bombs link urgent row idle (all)
#   RUNS=3                 turns                     BIG_MIB=1024  the big file
#   SMALL_N=2000 SMALL_B=1024  the small messages    IDLE_S=60     how long nothing is done
#   SCRATCH=DIR            where (a real disk, not memory; 8 GiB for the big file)
#   POSTRIDER=FILE         the binary (a release build by default)
#   DTND=FILE              dtn7's daemon, where there is one: cargo install dtn7 --locked
#
# big      a file, from the sending until it is saved at the other end, sealing and opening included
#          (beside NNCP and Syncthing)
# small    messages, queued first, then sent when the link comes up (beside NNCP and dtn7)
# latency  one small message, from app to app, beside one durable write of this disk
# job      a command elsewhere that gives back the 1 KiB it is given, beside the command alone and five writes
# bombs    small messages to a machine on which jobs use all that they may, beside those without
# link     what one engine passes to another over TLS, with memory for a spool, beside bare rustls
# urgent   1 KiB while 50 MiB are under way on a line of 1 Mbit/s
# row      250 KB over four lines of 1 Mbit/s, three relays between, beside one such line
# idle     memory and processor of a node with a link and nothing to do
#
# Output: "who<TAB>case.metric<TAB>value<TAB>unit", one figure per line, then medians and ratios.
# What is not installed is left out, by name. Only what was started here is ended.
set -u
export LC_ALL=C
top=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$top/target}
if [ -z "${POSTRIDER:-}" ]; then
  (cd "$top" && cargo build -q --release --bin postrider --example link_speed &&
    cargo build -q --release -p postrider-transports --example tls_speed) || exit 1
  POSTRIDER=$target/release/postrider
fi
export POSTRIDER TLS_SPEED=${TLS_SPEED:-$target/release/examples/tls_speed}
export LINK_SPEED=${LINK_SPEED:-$target/release/examples/link_speed}
export DTND=${DTND:-$(type -P dtnd)}
[ $# -gt 0 ] || set -- big small latency job bombs link urgent row idle
exec python3 "$top/tests/bench/live.py" "$@"
