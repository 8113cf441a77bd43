#!/bin/bash
# Live nodes on links that nobody configured: network namespaces, no addresses but those that the
# kernel makes, no route, no Internet.
#
#   lan.sh [BINARY]    root
#
# pair   two nodes and a cable: the first message
# line   three in a row, two of whom have no link: through the one between them
# cable  the cable is pulled for three seconds during a file, and plugged in again
. "$(dirname "$0")/common.sh"
. "$here/net.sh"
needs_root
needs_namespaces
find_postrider "${1:-}"

DAD=kernel node a b c
know a b; know b c; know a c
cable a b
begun=$(now_ms)
start a; start b
id=$(P a send b "no addresses at all")
arrives b "$id"; check "pair: the first message arrives" is $? 0
echo "    after $(( $(now_ms) - begun )) ms, with the kernel's own 2 s for a new link"

cable b c
start c
id=$(P a send c "through the one between")
arrives c "$id"; check "line: who has no link is reached through another" is $? 0
once c "$id"; check "line: once" is $? 0

noise 60000000 "$W/film"
id=$(P a send b -f "$W/film")
pull b a
pause 3
plug b a
arrives b "$id"; check "cable: a file goes on when the cable is back" is $? 0
once b "$id"; check "cable: once" is $? 0
same b "$id" "$W/film"; check "cable: it is whole" is $? 0
finish
