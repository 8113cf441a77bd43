#!/bin/bash
# Commands at another machine by a directory as the stick, Postrider's jobs beside NNCP's exec: the same
# work in the same run. No speeds here, but what becomes of the work.
#
#   exec.sh                    POSTRIDER=FILE  the binary (a release build by default)
#   SCRATCH=DIR                where
#
# order    20 numbered commands are given to a stick: how many run before one that was given earlier
# crash    the program that runs commands is killed with -9 while one runs, and started again: how often it ran
# replay   a copy of the stick from before is brought again: how often its command ran
# hung     a command that never ends lies before six files: how many of them are there after 5 s
# output   bytes of what the command wrote that are back at whoever asked
#
# Output: "who<TAB>exec.metric<TAB>value<TAB>unit". Without NNCP its half is left out.
set -u
export LC_ALL=C
top=$(cd "$(dirname "$0")/../.." && pwd)
if [ -z "${POSTRIDER:-}" ]; then
  (cd "$top" && cargo build -q --release) || exit 1
  POSTRIDER=${CARGO_TARGET_DIR:-$top/target}/release/postrider
fi
NNCP=yes
for tool in nncp-file nncp-exec nncp-xfer nncp-toss nncp-cfgnew; do
  type -P $tool >/dev/null || { NNCP=; echo "NNCP is not installed: its half is left out" >&2; break; }
done
D=$(mktemp -d "${SCRATCH:-${TMPDIR:-/tmp}}/exec.XXXXXX")
chmod 755 "$D"
daemon=
trap '[ -z "$daemon" ] || kill "$daemon" 2>/dev/null; rm -rf "$D"' EXIT
figure() { printf '%s\t%s\t%s\t%s\n' "$1" "exec.$2" "$3" "$4"; }
# within SECONDS COMMAND...: until it succeeds.
within() {
  local end=$((SECONDS + $1))
  until "${@:2}" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || return 1; read -rt 0.05 <> <(:); done
}
# Lines in a log that have a smaller number than the one before.
inversions() { awk 'NR > 1 && $1 < p { n++ } { p = $1 } END { print n + 0 }' "$1"; }
lines() { [ -e "$1" ] && grep -c . "$1" || echo 0; }

cat >"$D/note.sh" <<'END'
echo "$2" >> "$1"
END
cat >"$D/slow.sh" <<'END'
echo run >> "$1"; sleep 3; echo end >> "$1"
END
chmod 644 "$D"/*.sh

# ---- ours: a asks, b runs ------------------------------------------------------------------------
ours() { "$POSTRIDER" -q --home "$D/p/$1" "${@:2}"; }
ours_start() {
  "$POSTRIDER" -q --home "$D/p/b" daemon --no-lan >>"$D/b.log" 2>&1 &
  daemon=$!
  within 30 test -S "$D/p/b/socket"
}
ours_stop() { kill "-$1" "$daemon" 2>/dev/null; wait "$daemon" 2>/dev/null; daemon=; rm -f "$D/p/b/socket"; }
ours_setup() {
  [ -z "$daemon" ] || ours_stop TERM
  rm -rf "$D/p" "$D/log"; mkdir -p "$D/p/stick" "$D/log"; : >"$D/log/lines"
  # Each command runs as a user that nobody else is.
  chmod 777 "$D/log"; chmod 666 "$D/log/lines"
  ours a init --name a >/dev/null; ours b init --name b >/dev/null
  chmod 755 "$D/p" "$D/p/b"
  ours b id --card - | ours a add - >/dev/null; ours a id --card - | ours b add - >/dev/null
  allow note -- /bin/sh "$D/note.sh" "$D/log/lines" '{n:int(0..1000)}'
  allow slow -- /bin/sh "$D/slow.sh" "$D/log/lines"
  allow hang -- /bin/sleep 30
  ours b allow set cat --for a --best-effort --stdin 1M -- /bin/cat >/dev/null
  ours_start
}
allow() { ours b allow set "$1" --for a --best-effort --read "$D" --write "$D/log" "${@:2}" >/dev/null; }
toss() { ours "$1" toss "${2:-$D/p/stick}" >/dev/null; }
ended() { toss a; ours a job ls | grep -q "$1"; }
all_ended() { toss b; toss a; [ "$(ours a --json job ls | grep -c '"state":"exited"')" = "$1" ]; }

ours_setup
for n in $(seq 20); do ours a run b -n --queue q -- note "$n" >/dev/null; done
toss a
within 60 all_ended 20
figure postrider order.inversions "$(inversions "$D/log/lines")" n
figure postrider order.ran "$(lines "$D/log/lines")" n

ours_setup
ours a run b -n -- slow >/dev/null; toss a; toss b
within 10 test -s "$D/log/lines"
ours_stop KILL; ours_start
within 30 all_ended 1
figure postrider crash.runs "$(grep -c run "$D/log/lines")" n
figure postrider crash.result_is_back "$(ours a --json job ls | grep -c '"exit_code":0')" n

ours_setup
ours a run b -n -- note 7 >/dev/null; toss a; cp -r "$D/p/stick" "$D/p/old"
within 30 all_ended 1
for n in 1 2 3; do cp -r "$D/p/old" "$D/p/again$n"; toss b "$D/p/again$n"; done
ours_stop TERM; ours_start
cp -r "$D/p/old" "$D/p/again4"; toss b "$D/p/again4"
# Whatever it may have begun is done before another that is asked for now.
ours a run b -n -- note 8 >/dev/null; toss a
within 30 all_ended 2
figure postrider replay.runs "$(grep -c '^7$' "$D/log/lines")" n

ours_setup
ours a run b -n -- hang >/dev/null
echo hello >"$D/hello"
for n in 1 2 3 4 5 6; do ours a send b -f "$D/hello" >/dev/null; done
toss a; toss b
within 5 eval '[ "$(ours b --json inbox | grep -c "\"kind\":\"file\"")" = 6 ]'
figure postrider hung.files_there "$(ours b --json inbox | grep -c '"kind":"file"')" n

ours_setup
head -c 100000 /dev/urandom | base64 -w0 >"$D/given"
job=$(ours a run b -- cat <"$D/given"); toss a
within 30 all_ended 1
figure postrider output.bytes_back "$(ours a job log "$job" | cmp -s - "$D/given" && stat -c %s "$D/given" || echo 0)" B
ours_stop TERM

# ---- NNCP ----------------------------------------------------------------------------------------
[ -n "$NNCP" ] || exit 0
key() { awk -v k="$2:" '$1 == k { print $2; exit }' "$D/$1.keys"; }
pubs() { for k in id exchpub signpub noisepub; do echo "      $k: $(key "$1" $k)"; done; }
theirs_config() { # NODE NEIGHBOUR
  cat >"$D/n/$1.hjson" <<END
{
  spool: $D/n/$1/spool
  log: $D/n/$1/log
  noprogress: true
  self: {
$(for k in id exchpub exchprv signpub signprv noisepub noiseprv; do echo "    $k: $(key "$1" $k)"; done)
  }
  neigh: {
    self: {
$(pubs "$1")
    }
    $2: {
$(pubs "$2")
      incoming: $D/n/$1/in
      exec: {
        note: ["/bin/sh", "-c", "cat >> $D/n/lines; echo >> $D/n/lines"]
        slow: ["/bin/sh", "$D/slow.sh", "$D/n/lines"]
        hang: ["/bin/sleep", "30"]
        cat: ["/bin/cat"]
      }
    }
  }
}
END
}
theirs() { NNCPCFG="$D/n/$1.hjson" "nncp-$2" -quiet "${@:3}" 2>>"$D/nncp.log"; }
theirs_setup() {
  rm -rf "$D/n"; mkdir -p "$D"/n/{a,b}/{spool,in} "$D"/n/{stick,old}
  for n in a b; do [ -s "$D/$n.keys" ] || nncp-cfgnew -nocomments >"$D/$n.keys"; done
  theirs_config a b; theirs_config b a
}
give() { theirs a xfer -mkdir "$D/n/stick"; }
take() { theirs b xfer "${1:-$D/n/stick}"; theirs b toss; }

theirs_setup
for n in $(seq 20); do printf %s "$n" | theirs a exec b note; done
give; take
figure nncp order.inversions "$(inversions "$D/n/lines")" n
figure nncp order.ran "$(lines "$D/n/lines")" n

theirs_setup
echo x | theirs a exec b slow; give; theirs b xfer "$D/n/stick"
NNCPCFG="$D/n/b.hjson" nncp-toss -quiet 2>/dev/null &
tosser=$!
within 10 test -s "$D/n/lines"
kill -9 $tosser; wait $tosser 2>/dev/null
theirs b toss
figure nncp crash.runs "$(grep -c run "$D/n/lines")" n
figure nncp crash.result_is_back 0 n

theirs_setup
printf 7 | theirs a exec b note; give; cp -r "$D/n/stick/." "$D/n/old/"; take
for n in 1 2 3 4; do cp -r "$D/n/old" "$D/n/again$n"; take "$D/n/again$n"; done
figure nncp replay.runs "$(grep -c '^7$' "$D/n/lines")" n

theirs_setup
echo x | theirs a exec -nice FLASH b hang
for n in 1 2 3 4 5 6; do theirs a file "$D/hello" b:hello; done
give; theirs b xfer "$D/n/stick"
NNCPCFG="$D/n/b.hjson" timeout -k 1 5 nncp-toss -quiet 2>/dev/null
figure nncp hung.files_there "$(ls "$D/n/b/in" | wc -l)" n

theirs_setup
theirs a exec b cat <"$D/given"; give; take
theirs b xfer -mkdir "$D/n/stick"; theirs a xfer "$D/n/stick"; theirs a toss
# Nothing is made for whoever asked.
figure nncp output.bytes_back "$(find "$D/n/a/in" -type f -printf '%s\n' | awk '{ s += $1 } END { print s + 0 }')" B
