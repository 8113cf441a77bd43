# What the drivers here share: the binary, checks that are counted, skipping.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)

# A driver that cannot run here says why and is no failure.
skip() { echo "skipped: $*"; exit 0; }

needs_root() { [ "$(id -u)" = 0 ] || skip "root is needed to mount"; }
needs() { for tool in "$@"; do command -v "$tool" >/dev/null || skip "$tool is not installed"; done; }

# The binary: the argument, else POSTRIDER, else the newest that was built here, else built now.
find_postrider() { # [BINARY]
  POSTRIDER=${1:-${POSTRIDER:-}}
  local target=${CARGO_TARGET_DIR:-$top/target} newest
  if [ -z "$POSTRIDER" ]; then
    newest=$(ls -t "$target"/release/postrider "$target"/debug/postrider 2>/dev/null | head -1)
    if [ -z "$newest" ]; then
      (cd "$top" && cargo build -q) || exit 1
      newest=$target/debug/postrider
    fi
    POSTRIDER=$newest
  fi
  POSTRIDER=$(realpath "$POSTRIDER") || exit 1
  echo "binary: $POSTRIDER"
}

# The example programs of the transports, built now: EXAMPLES is where they are.
find_examples() { # NAME...: as they are in $EXAMPLES, or built now
  [ -z "${EXAMPLES:-}" ] || return 0
  local target=${CARGO_TARGET_DIR:-$top/target} names=()
  for name in "$@"; do names+=(--example "$name"); done
  (cd "$top" && cargo build -q -p postrider-transports "${names[@]}") || exit 1
  EXAMPLES=$(realpath "$target/debug/examples") || exit 1
}

fails=0
# check WHAT COMMAND...: counts and tells.
check() {
  local what=$1
  shift
  if "$@" >/dev/null 2>&1; then echo "ok    $what"; else echo "FAIL  $what"; fails=$((fails + 1)); fi
}
is() { [ "$1" = "$2" ]; }
finish() {
  if [ "$fails" = 0 ]; then echo "all held"; else echo "$fails did not hold"; exit 1; fi
}

# field KEY: of the last JSON object on standard input.
field() {
  python3 -c 'import json, sys
print(json.loads(sys.stdin.read().strip().splitlines()[-1])[sys.argv[1]])' "$1"
}
