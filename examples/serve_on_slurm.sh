#!/usr/bin/env bash
# A model server of your own on a GPU node, for as long as a run needs it. Any server that speaks the OpenAI protocol
# and answers GET /health will do (vLLM, SGLang, llama-server). {port} in its command becomes a free port of the node.
#
#   export LOCAL_API_BASE=$(examples/serve_on_slurm.sh start server --gres=gpu:1 --mem=64G --time=24:00:00 -- \
#       vllm serve meta-llama/Llama-3.1-8B-Instruct --host 0.0.0.0 --port {port})
#   snakemake --workflow-profile workflow/profiles/slurm --configfile my.yaml
#   examples/serve_on_slurm.sh stop server
# where my.yaml has a model with backend: openai, api_base_env: LOCAL_API_BASE.
#
# start FOLDER [sbatch options] -- COMMAND   submit the server, wait until it answers, print its base URL; log in FOLDER/log
# health FOLDER                              print the base URL if the server answers, fail if not
# stop FOLDER                                cancel the job, and wait until it is gone
# Where a node is known by another name than its own, set SERVER_HOST.
set -euo pipefail

usage() { sed -n '2,/^set/{/^#/p}' "$0"; exit 2; }

healthy() { curl --silent --fail --noproxy '*' --max-time 10 --output /dev/null "${1%/v1}/health"; }

in_queue() { [ -n "$(squeue --noheader --jobs "$1" --states PENDING,CONFIGURING,RUNNING,COMPLETING 2>/dev/null)" ]; }

start() {
  local options=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
  [ $# -ge 2 ] || usage
  shift
  mkdir -p "$folder"
  rm -f "$folder/url" "$folder/log"
  sbatch --parsable --job-name=model-server --output="$folder/log" --open-mode=append "${options[@]}" \
    "$0" serve "$folder" "$@" > "$folder/job"
  # A big model takes minutes to load, and the job may wait in the queue before: wait as long as the job exists.
  until health; do
    in_queue "$(cat "$folder/job")" || {
      tail -n 20 "$folder/log" >&2
      echo "the server ended before it answered" >&2
      return 1
    }
    sleep 2
  done
}

# What the Slurm job runs.
serve() {
  local port url server
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
  url=http://${SERVER_HOST:-$(hostname)}:$port/v1
  "${@//\{port\}/$port}" &
  server=$!
  trap 'rm -f "$folder/url"; kill "$server" 2>/dev/null || true' EXIT
  trap 'exit 143' TERM INT
  until healthy "$url"; do
    kill -0 "$server" 2>/dev/null || exit 1
    sleep 1
  done
  # Whole or not at all: the head node reads it over a shared file system.
  echo "$url" > "$folder/url.new"
  mv "$folder/url.new" "$folder/url"
  wait "$server"
}

health() {
  [ -f "$folder/url" ] && healthy "$(cat "$folder/url")" && cat "$folder/url"
}

stop() {
  local job
  job=$(cat "$folder/job")
  scancel "$job"
  while in_queue "$job"; do sleep 1; done
  rm -f "$folder/url"
}

[ $# -ge 2 ] || usage
action=$1
folder=$(realpath -m "$2")
shift 2
case $action in
  start | serve | health | stop) "$action" "$@" ;;
  *) usage ;;
esac
