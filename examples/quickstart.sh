#!/bin/sh
# A box, files, a program and its output, on the command line. DEVBOX_URL and DEVBOX_API_KEY say which server.
set -eu

id=$(devbox create --language python --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
trap 'devbox rm "$id" >/dev/null' EXIT

printf 'import sys\nprint("hello", *sys.argv[1:])\n' | devbox put "$id:/workspace/main.py"
devbox exec "$id" -- python3 /workspace/main.py world
devbox exec "$id" -- sh -c 'echo result > /workspace/result.txt'

folder=$(mktemp -d)
devbox cp "$id:/workspace/result.txt" "$folder/"
cat "$folder/result.txt"
rm -r "$folder"
