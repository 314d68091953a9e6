#!/bin/sh
# Ask a running service for every task's answer, with curl. Prints the answer as JSON.
#
#   sh examples/client.sh examples/pictures/shoe.jpg "Men White Sports Shoes"
#   sh examples/client.sh "" "Women Red Dress" articleType,baseColour     (no picture, two tasks)
#
# URL= says where the service is, TRUNKLINE_KEY= is the API key where it asks for one. Exits with 22 and the service's own words when there is no answer.
set -eu

url=${URL:-http://127.0.0.1:8000}
image=${1:-}
text=${2:-}
tasks=${3:-}

set -- --silent --show-error --fail-with-body --max-time 30
# --form-string, because --form would read a text that begins with @ or < from a file.
if [ -n "$image" ]; then set -- "$@" --form "image=@\"$image\""; fi
if [ -n "$text" ]; then set -- "$@" --form-string "text=$text"; fi
if [ -n "$tasks" ]; then set -- "$@" --form-string "tasks=$tasks"; fi

# From standard input, because a command line is there for every user of the machine to see.
if [ -n "${TRUNKLINE_KEY:-}" ]; then
    printf 'header = "Authorization: Bearer %s"\n' "$TRUNKLINE_KEY" | curl --config - "$@" "$url/predict"
else
    curl "$@" "$url/predict"
fi
echo
