#!/bin/sh
# A box, files, a program and its output, with nothing but HTTP. DEVBOX_URL and DEVBOX_API_KEY say which server.
set -eu

base=${DEVBOX_URL:-http://127.0.0.1:8080}/v1
call() { curl --fail-with-body --silent --show-error --header "Authorization: Bearer $DEVBOX_API_KEY" "$@"; }

id=$(call --json '{"language": "python"}' "$base/devboxes" | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
trap 'call --request DELETE "$base/devboxes/$id"' EXIT

# A file: sent, and its metadata answered. With `If-None-Match: *` it would be made only if there is none.
printf 'import sys\nprint("hello", *sys.argv[1:])\n' |
    call --upload-file - "$base/devboxes/$id/files/workspace/main.py"
echo

# A program: its output as it comes, one JSON object a line.
call --no-buffer --json '{"argv": ["python3", "main.py", "world"], "cwd": "/workspace"}' \
    "$base/devboxes/$id/processes"

# Several files in one request, all or none: the name of each part is where it goes.
call --form '/workspace/a.txt=a;type=text/plain' --form '/workspace/b.txt=b;type=text/plain' \
    "$base/devboxes/$id/files"
echo

# A listing, a part of a file, and a zip of everything.
call "$base/devboxes/$id/entries/workspace?depth=1"
echo
call --header 'Range: bytes=0-9' "$base/devboxes/$id/files/workspace/main.py"
echo
call --json '{"paths": [{"path": "/workspace"}]}' "$base/devboxes/$id/archive" |
    python3 -c 'import io, sys, zipfile; print(*zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read())).namelist())'
