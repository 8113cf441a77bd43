#!/bin/sh
# Trains the dictionary of short messages from corpus/*.txt: one line is one sample.
#
# Run once per dictionary *version*. Dictionary 1 is frozen: every compressed packet ever sealed names
# it implicitly, so its bytes may never change; a better one becomes postrider-2.dict beside it.
# The output depends on the version of the zstd tool (1.5.4 made postrider-1.dict), which is why the
# artefact is committed and not built.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: train.sh OUTPUT.dict}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One file per sample: with --split zstd would cut messages at fixed sizes, in the middle of words.
n=0
for file in "$here"/corpus/*.txt; do
    lang=$(basename "$file" .txt)
    split -l 1 -a 4 -d "$file" "$work/$lang."
    n=$((n + $(wc -l < "$file")))
done
# A sample is a packet's text, and a text does not end in a line feed.
for sample in "$work"/*; do
    truncate -s -1 "$sample"
done

# Samples in Latin script go in twice, and the tables are those of three of its languages: it is the 100
# Latin characters that must fit one radio frame; other scripts gain more from the words anyway.
latin=""
for lang in en de fr es it pt pl id; do
    latin="$latin $work/$lang.*"
done
# 32 KiB: 8 KiB gained 1.58x, 32 KiB 1.76x, 112 KiB 1.93x on real prose; 32 KiB is what a small build
# can carry (a little more is trained than kept). d = 6: matches of words, not of letters. Level 19 is
# what senders use.
# shellcheck disable=SC2086
zstd --train-cover=k=64,d=6,steps=1 -19 --maxdict=33000 --dictID=1 -q -f -o "$work.words" "$work"/* $latin 2>/dev/null
python3 "$here/tables.py" "$work.words" "$out" "$here/corpus/en.txt" "$here/corpus/de.txt" "$here/corpus/fr.txt"
rm -f "$work.words"
echo "$n samples, $(wc -c < "$out") bytes, $out"
