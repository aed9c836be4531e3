#!/usr/bin/env bash
# A Slurm of one node on this machine, for tests: as root, without systemd, cgroups or an accounting database.
#   one_node_slurm.sh start FOLDER    everything (config, keys, logs, state) below FOLDER; then:
#                                     export SLURM_CONF=FOLDER/slurm.conf PATH=FOLDER/bin:$PATH
#   one_node_slurm.sh stop FOLDER     cancel what runs, end the daemons; safe to repeat, and after a start that failed
# Needs Debian's packages slurmctld, slurmd, slurm-client and munge (tried with Slurm 22.05 and munge 0.5.15). A Slurm
# that the machine already has is left alone: own ports, own munge socket, no file outside FOLDER.
set -euo pipefail
[ $# -eq 2 ] || { sed -n 2,5p "$0"; exit 2; }
action=$1
folder=$(realpath -m "$2")
export SLURM_CONF=$folder/slurm.conf
host=$(hostname -s)
# More than most machines have (config_overrides): what a test's jobs ask for is not what they use.
cpus=16
memory_mb=32000

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

configure() {
  mkdir -p "$folder"/{bin,ctld,d,munge}
  # The daemon refuses folders that others may write to.
  chmod 755 "$folder" "$folder/munge"
  head -c 128 /dev/urandom > "$folder/munge/key"
  chmod 600 "$folder/munge/key"
  cat > "$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
StateSaveLocation=$folder/ctld
SlurmdSpoolDir=$folder/d
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
# Without accounting, squeue is what knows how a job ended.
MinJobAge=86400
KillWait=2
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus Boards=1 SocketsPerBoard=1 CoresPerSocket=$cpus ThreadsPerCore=1 RealMemory=$memory_mb State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP DefMemPerCPU=200
CONF
  # Snakemake's job step drops SLURM_CONF from the environment of its srun.
  printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$(command -v srun)" > "$folder/bin/srun"
  chmod 755 "$folder/bin/srun"
}

start() {
  configure
  # --force: root, and a folder for temporary files, draw warnings that would be errors.
  munged --force --socket="$folder/munge/socket" --key-file="$folder/munge/key" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munge/seed"
  slurmctld
  slurmd
  for _ in $(seq 120); do
    [ "$(sinfo --noheader --format %T 2>/dev/null)" = idle ] && return
    sleep 0.25
  done
  echo "the node did not become idle; the logs end with:" >&2
  tail -n 20 "$folder"/*.log >&2
  return 1
}

stop() {
  scancel --user root >/dev/null 2>&1 || true
  for daemon in slurmd slurmctld munged; do
    end "$folder/$daemon.pid"
  done
}

# Ask a daemon to end, and kill it if it has not after five seconds.
end() {
  [ -f "$1" ] || return 0
  local pid
  pid=$(cat "$1")
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 50); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
}

case $action in
  start) start ;;
  stop) stop ;;
  *) sed -n 2,5p "$0"; exit 2 ;;
esac
