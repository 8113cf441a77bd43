#!/bin/bash
# Postrider and NNCP side by side on this machine, by a directory as the stick: the same work in the
# same run, turn by turn, so that whatever else the machine does falls on both. Medians; ratios.
#
#   sneakernet.sh [CASE]...    cases: big small batch queue (all)
#   RUNS=3                     turns                    BIG_MIB=1024   the big file
#   SMALL_N=2000 SMALL_B=1024  the small messages       QUEUED=100000  the long queue
#   SCRATCH=DIR                where (a real disk, not memory; 5 GiB for the big file)
#   POSTRIDER=FILE             the binary (a release build by default)
#
# big    a file: send, toss out, toss in, save; time and peak memory of each
# small  messages, one process each, then the tosses
# batch  the same messages through one process (NNCP: as in small)
# queue  one send on an empty spool and one beside a long queue
#
# Output: "who<TAB>case.metric<TAB>value<TAB>unit", one figure per line, then a table. GNU time is
# needed; without NNCP its half is left out.
set -u
export LC_ALL=C
top=$(cd "$(dirname "$0")/../.." && pwd)
RUNS=${RUNS:-3} BIG_MIB=${BIG_MIB:-1024} SMALL_N=${SMALL_N:-2000} SMALL_B=${SMALL_B:-1024}
QUEUED=${QUEUED:-100000}
TIME=$(type -P time) || { echo "GNU time is needed" >&2; exit 2; }
if [ -z "${POSTRIDER:-}" ]; then
  (cd "$top" && cargo build -q --release) || exit 1
  POSTRIDER=${CARGO_TARGET_DIR:-$top/target}/release/postrider
fi
NNCP=yes
for tool in nncp-file nncp-xfer nncp-toss nncp-cfgnew; do
  type -P $tool >/dev/null || { NNCP=; echo "NNCP is not installed: its half is left out" >&2; break; }
done
if [ -n "${SCRATCH:-}" ]; then mkdir -p "$SCRATCH"; fi
D=$(mktemp -d "${SCRATCH:-${TMPDIR:-/tmp}}/sneakernet.XXXXXX")
trap 'rm -rf "$D"' EXIT

figure() { printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" | tee -a "$D/figures"; }
calc() { awk "BEGIN { printf \"%.4g\", $1 }"; }
now() { echo "${EPOCHREALTIME/./}"; }
since() { calc "($(now) - $1) / 1e6"; }
# measured WHO METRIC COMMAND...: wall and processor seconds and peak MiB of one command.
measured() {
  local who=$1 metric=$2 wall rss user system
  shift 2
  "$TIME" -f '%e %M %U %S' -o "$D/time" "$@" >"$D/out" 2>"$D/err" || {
    echo "$who $metric failed with $?: $(tail -3 "$D/err")" >&2; exit 1; }
  read -r wall rss user system < <(tail -1 "$D/time")
  figure "$who" "$metric.wall" "$wall" s
  figure "$who" "$metric.cpu" "$(calc "$user + $system")" s
  figure "$who" "$metric.peak_rss" "$(calc "$rss / 1024")" MiB
}

# ---- the two, with two nodes each, a and b; a knows b -------------------------------------------
ours() { "$POSTRIDER" -q --home "$D/p/$1" "${@:2}"; }
ours_setup() {
  rm -rf "$D/p"; mkdir -p "$D/p/stick" "$D/p/out"
  ours a init --name a >/dev/null; ours b init --name b >/dev/null
  ours b id --card - | ours a add - >/dev/null; ours a id --card - | ours b add - >/dev/null
}
theirs() { NNCPCFG="$D/n/$1.hjson" "nncp-$2" -quiet "${@:3}"; }
key() { awk -v k="$2:" '$1 == k { print $2; exit }' "$D/$1.keys"; }
keys() { local k; for k in "${@:2}"; do echo "    $k: $(key "$1" "$k")"; done; }
theirs_setup() {
  rm -rf "$D/n"; mkdir -p "$D/n/stick"
  local node other
  for node in a b; do [ -s "$D/$node.keys" ] || nncp-cfgnew -nocomments >"$D/$node.keys"; done
  for node in a b; do
    other=$([ $node = a ] && echo b || echo a)
    mkdir -p "$D/n/$node/spool" "$D/n/$node/in"
    cat >"$D/n/$node.hjson" <<X
{
  spool: $D/n/$node/spool
  log: $D/n/$node/log
  noprogress: true
  self: {
$(keys $node id exchpub exchprv signpub signprv noiseprv noisepub)
  }
  neigh: {
    self: {
$(keys $node id exchpub signpub noisepub)
    }
    $other: {
$(keys $other id exchpub signpub noisepub)
      incoming: $D/n/$node/in
    }
  }
}
X
  done
}

# ---- cases --------------------------------------------------------------------------------------
# Gigabytes that were freed a while ago may have gone back to the host of a virtual machine, and whoever
# writes to them first waits for it. So before each side's turn they are written to by nobody's.
warm() {
  head -c "$((6 * BIG_MIB))M" /dev/zero >"$D/warm" && rm "$D/warm" && sync
}
big_ours() {
  ours_setup; warm
  local began id; began=$(now)
  measured postrider big.send "$POSTRIDER" -q --home "$D/p/a" send b -f "$D/big"; id=$(cat "$D/out")
  measured postrider big.toss_out "$POSTRIDER" -q --home "$D/p/a" toss "$D/p/stick"
  measured postrider big.toss_in "$POSTRIDER" -q --home "$D/p/b" toss "$D/p/stick"
  measured postrider big.save "$POSTRIDER" -q --home "$D/p/b" inbox save "$id" "$D/p/out"
  figure postrider big.total "$(since "$began")" s
  cmp "$D/big" "$D/p/out/big" || exit 1
  rm -rf "$D/p"
}
big_theirs() {
  theirs_setup; warm
  local began; began=$(now)
  measured nncp big.send nncp-file -quiet -cfg "$D/n/a.hjson" "$D/big" b:big
  measured nncp big.toss_out nncp-xfer -quiet -cfg "$D/n/a.hjson" -mkdir "$D/n/stick"
  measured nncp big.toss_in nncp-xfer -quiet -cfg "$D/n/b.hjson" "$D/n/stick"
  measured nncp big.save nncp-toss -quiet -cfg "$D/n/b.hjson"
  figure nncp big.total "$(since "$began")" s
  cmp "$D/big" "$D/n/b/in/big" || exit 1
  rm -rf "$D/n"
}
arrived_ours() {
  local n; n=$(ours b inbox | wc -l)
  [ "$n" = "$SMALL_N" ] || { echo "postrider: $n of $SMALL_N arrived" >&2; exit 1; }
}
tosses_ours() { # METRIC BEGAN
  measured postrider "$1.toss_out" "$POSTRIDER" -q --home "$D/p/a" toss "$D/p/stick"
  measured postrider "$1.toss_in" "$POSTRIDER" -q --home "$D/p/b" toss "$D/p/stick"
  figure postrider "$1.total" "$(since "$2")" s
  figure postrider "$1.rate" "$(calc "$SMALL_N / $(since "$2")")" 1/s
  arrived_ours
}
small_ours() {
  ours_setup
  local began file; began=$(now)
  for file in "$D"/small/*; do "$POSTRIDER" -q --home "$D/p/a" send b -f "$file" >/dev/null || exit 1; done
  figure postrider small.send_each "$(calc "$(since "$began") * 1000 / $SMALL_N")" ms
  tosses_ours small "$began"
}
small_theirs() { # also the yardstick of batch
  theirs_setup
  local began file; began=$(now)
  for file in "$D"/small/*; do NNCPCFG="$D/n/a.hjson" nncp-file -quiet "$file" b: || exit 1; done
  figure nncp small.send_each "$(calc "$(since "$began") * 1000 / $SMALL_N")" ms
  measured nncp small.toss_out nncp-xfer -quiet -cfg "$D/n/a.hjson" -mkdir "$D/n/stick"
  measured nncp small.toss_in nncp-xfer -quiet -cfg "$D/n/b.hjson" "$D/n/stick"
  measured nncp small.save nncp-toss -quiet -cfg "$D/n/b.hjson"
  figure nncp small.total "$(since "$began")" s
  figure nncp small.rate "$(calc "$SMALL_N / $(since "$began")")" 1/s
  [ "$(ls "$D/n/b/in" | wc -l)" = "$SMALL_N" ] || { echo "nncp lost some" >&2; exit 1; }
}
batch_ours() {
  ours_setup
  local file began
  for file in "$D"/small/*; do echo "{\"to\":\"b\",\"file\":\"$file\"}"; done >"$D/p/objects"
  began=$(now)
  measured postrider batch.send "$POSTRIDER" --home "$D/p/a" send --batch <"$D/p/objects"
  tosses_ours batch "$began"
}
queue_ours() {
  local turn text n=50
  text=$(head -c 75 /dev/urandom | base64 -w0)
  ours_setup
  cp -r "$D/p/a" "$D/p/empty"
  awk -v n="$QUEUED" -v t="$text" 'BEGIN { for (i = 0; i < n; i++) printf "{\"to\":\"b\",\"text\":\"%d %s\"}\n", i, t }' |
    ours a send --batch >/dev/null || exit 1
  figure postrider queue.queued "$(ours a --json status | sed 's/.*"out":\([0-9]*\).*/\1/')" n
  for turn in $(seq "$RUNS"); do
    for home in a empty; do
      local began; began=$(now)
      for _ in $(seq $n); do ours $home send b "$text" >/dev/null || exit 1; done
      figure postrider "queue.send_$home" "$(calc "$(since "$began") * 1000 / $n")" ms
    done
  done
}

# ---- turns --------------------------------------------------------------------------------------
[ $# -gt 0 ] || set -- big small batch queue
figure machine cpus "$(nproc)" n
figure machine load "$(cut -d' ' -f1 /proc/loadavg)" n
figure postrider version "$("$POSTRIDER" version | cut -d' ' -f2)" text
[ -z "$NNCP" ] || figure nncp version "$(nncp-hash -version 2>/dev/null | head -1 | cut -d' ' -f3)" text
mkdir "$D/small"
python3 - "$D" "$BIG_MIB" "$SMALL_N" "$SMALL_B" "$*" <<'P'
import os, sys
folder, mib, count, size, cases = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
if "big" in cases:
    with open(folder + "/big", "wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))
for n in range(count):
    with open(f"{folder}/small/{n:06d}", "wb") as file:
        file.write(os.urandom(size))
P
for case; do
  case $case in
    queue) queue_ours; rm -rf "$D/p"; continue ;;
    big | small | batch) ;;
    *) echo "no case $case" >&2; exit 2 ;;
  esac
  for turn in $(seq "$RUNS"); do
    echo "# $case, turn $turn" >&2
    "${case}_ours"
    # What batch is held against is NNCP's small; no need to run it twice.
    if [ -n "$NNCP" ] && [ "$case" != batch ]; then "${case}_theirs"; fi
    if [ -n "$NNCP" ] && [ "$case" = batch ] && [[ " $* " != *" small "* ]]; then small_theirs; fi
  done
done
figure machine load_end "$(cut -d' ' -f1 /proc/loadavg)" n

python3 - "$D/figures" <<'P'
import collections, statistics, sys
values = collections.defaultdict(list)
for line in open(sys.argv[1]):
    who, metric, value, unit = line.rstrip("\n").split("\t")
    if unit != "text":
        values[who, metric, unit].append(float(value))
median = {(who, metric): statistics.median(found) for (who, metric, _), found in values.items()}
units = {metric: unit for (_, metric, unit) in values}
# batch has NNCP's small beside it: it has no batch.
beside = lambda m: m.replace("batch.", "small.") if m.startswith("batch.") else m
ratios = []
print(f"\n{'':24}{'postrider':>12}{'nncp':>12}{'ratio':>9}")
for (who, metric), ours in median.items():
    if who != "postrider":
        continue
    theirs = median.get(("nncp", beside(metric)))
    ratio = ours / theirs if theirs else None
    print(f"{metric:24}{ours:12.4g}{theirs if theirs else float('nan'):12.4g}"
          f"{ratio if ratio else float('nan'):9.3f}  {units[metric]}")
    if ratio and metric.split(".")[1] in ("total", "rate"):
        ratios.append((metric, ratio))
if ("postrider", "queue.send_a") in median:
    ratios.append(("queue.long_to_empty",
                   median["postrider", "queue.send_a"] / median["postrider", "queue.send_empty"]))
print()
for metric, ratio in ratios:
    print(f"ratio\t{metric}\t{ratio:.3g}")
P
