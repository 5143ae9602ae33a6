#!/usr/bin/env bash
# A real Slurm cluster of several virtual nodes on this one machine, to try job scripts and to test them.
#
#   lab.sh install     the Debian packages that it needs (as root)
#   lab.sh start DIR   brings the cluster up, and waits until every node takes jobs
#   lab.sh env DIR     prints the line that makes sbatch, srun, squeue, ... talk to it:   eval "$(lab.sh env DIR)"
#   lab.sh stop DIR    cancels its jobs, ends every process of it; of DIR only the logs stay
#
# DIR is the only place where anything is written: configuration, keys, sockets, state, logs. No root, no systemd, no
# terminal. NODES=4, CPUS=4, GPUS=4 (pretended) and MEM=4000 (MiB), all a node, are environment variables; so is PORT, the
# first of NODES+1 ports (without it a free run of ports is looked for). Two labs need two DIRs.
set -euo pipefail

NODES=${NODES:-4} CPUS=${CPUS:-4} GPUS=${GPUS:-4} MEM=${MEM:-4000}
PATH=$PATH:/usr/sbin:/sbin # where Debian has the daemons, and users do not look

say() { echo "lab: $*" >&2; }
die() {
    say "$*"
    exit 1
}
usage() {
    sed -n '2,/^set/{/^#/p}' "$0" | cut -c3-
    exit 2
}

packages() {
    export DEBIAN_FRONTEND=noninteractive
    local apt=(apt-get -o DPkg::Lock::Timeout=300 -y -qq)
    "${apt[@]}" update
    # libpmix-dev: Slurm opens libpmix.so by the name that only the -dev package has.
    "${apt[@]}" install --no-install-recommends slurmctld slurmd slurm-client munge libpmix-dev openmpi-bin libopenmpi-dev
}

# A process of this lab is known by its environment; pid files outlive processes, and pids are used again.
ours() { grep -zqxF "SLURM_CONF=$SLURM_CONF" "/proc/$1/environ" 2>/dev/null; }

# alive PIDFILE: prints the pid of the daemon that wrote it, if that is still there.
alive() {
    local pid
    pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && ours "$pid" && echo "$pid"
}

# finish PID NAME: TERM, and KILL if that does not help within 10 s.
finish() {
    kill "$1" 2>/dev/null || return 0
    for _ in {1..200}; do
        ours "$1" || return 0
        sleep 0.05
    done
    say "$2 (pid $1) did not end: killed"
    kill -9 "$1" 2>/dev/null || :
}

# steps lists the processes of jobs: they go on when the daemon that started them has ended.
steps() {
    local proc pid
    for proc in /proc/[0-9]*; do
        pid=${proc#/proc/}
        if [ "$pid" != $$ ] && ours "$pid"; then
            if [ "$(cat "$proc/comm" 2>/dev/null)" = slurmstepd ] || grep -zq '^SLURMD_NODENAME=' "$proc/environ" 2>/dev/null; then
                echo "$pid"
            fi
        fi
    done
}

free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# port_run prints the first port of a run of free ones: one for slurmctld and one a node. Where the search begins depends
# on DIR, so that labs that are started at the same moment do not choose the same.
port_run() {
    local from p busy
    from=$((16800 + $(cksum <<<"$DIR" | cut -d' ' -f1) % 100 * 80))
    for ((; from < 32000; from += 80)); do
        busy=
        for ((p = from; p <= from + NODES; p++)); do free "$p" || busy=1; done
        [ -n "$busy" ] || {
            echo "$from"
            return
        }
    done
    die "no run of $((NODES + 1)) free ports from 16800 on: set PORT"
}

# gpu_files prints what stands for the GPUs of a node. They must be character devices, or Slurm leaves CUDA_VISIBLE_DEVICES
# empty: root makes some, others take what every machine has.
gpu_files() {
    local i
    for ((i = 0; i < GPUS; i++)); do
        [ -c "$DIR/dev/gpu$i" ] || mknod "$DIR/dev/gpu$i" c 1 3 2>/dev/null || {
            echo /dev/null,/dev/zero,/dev/full,/dev/random | cut -d, -f"1-$((GPUS < 4 ? GPUS : 4))"
            return
        }
    done
    echo "$DIR/dev/gpu[0-$((GPUS - 1))]"
}

configure() {
    local host me devices gres='' i
    host=$(hostname -s) me=$(id -un)
    mkdir -p "$DIR"/{ctld,dev,log,munge,run}
    chmod 755 "$DIR" "$DIR/munge" # munged refuses a socket that others cannot reach
    for ((i = 1; i <= NODES; i++)); do
        mkdir -p "$DIR/spool/n$i" "$DIR/tmp/n$i"
        chmod 1777 "$DIR/tmp/n$i"
    done
    [ -s "$DIR/munge/key" ] || (umask 077 && head -c 1024 /dev/urandom >"$DIR/munge/key")
    if [ "$GPUS" -gt 0 ]; then
        devices=$(gpu_files)
        [[ $devices == *gpu* ]] || GPUS=$((GPUS < 4 ? GPUS : 4))
        gres=" Gres=gpu:fake:$GPUS"
        echo "NodeName=n[1-$NODES] Name=gpu Type=fake File=$devices Flags=nvidia_gpu_env" >"$DIR/gres.conf"
    fi
    cat >"$SLURM_CONF" <<CONF
ClusterName=lab
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=$me
SlurmdUser=$me
StateSaveLocation=$DIR/ctld
SlurmdSpoolDir=$DIR/spool/%n
SlurmctldPidFile=$DIR/run/slurmctld.pid
SlurmdPidFile=$DIR/run/slurmd.%n.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd.%n.log
# One line for every end of a job; sacct -c reads it.
JobCompType=jobcomp/filetxt
JobCompLoc=$DIR/log/jobcomp.txt
# A job that is put back into the queue waits until its old credentials have expired, and a second more (else 121 s).
AuthInfo=socket=$DIR/munge/sock,cred_expire=5
# PMIx makes folders named after job and step in here: one folder a node, or the nodes of this machine get in each other's way.
TmpFS=$DIR/tmp/%n
TaskProlog=$DIR/task-prolog
# The nodes claim more processors than the machine may have.
SlurmdParameters=config_overrides
# What can never run is refused, where it would wait for ever.
EnforcePartLimits=ALL
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=5
MpiDefault=none
MailProg=/bin/true
GresTypes=gpu
NodeName=n[1-$NODES] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((PORT + 1))-$((PORT + NODES))] CPUs=$CPUS RealMemory=$MEM$gres State=UNKNOWN
PartitionName=lab Nodes=ALL Default=YES MaxTime=INFINITE
CONF
    # With the default fence a rank may leave MPI_Init before another has come that far: a few of 100 starts crash.
    echo "PMIxCollFence=ring" >"$DIR/mpi.conf"
    # Open MPI names its shared memory after the host, which the nodes have in common; and its ranks wait by polling, which
    # takes the processor from those they wait for when there are fewer processors than ranks.
    cat >"$DIR/task-prolog" <<'PROLOG'
#!/bin/sh
echo "export OMPI_MCA_btl_vader_backing_directory=${SLURM_CONF%/*}/tmp/$SLURMD_NODENAME"
echo "export OMPI_MCA_mpi_yield_when_idle=1"
PROLOG
    chmod 755 "$DIR/task-prolog"
}

daemons() {
    local i m=$DIR/munge
    alive "$DIR/run/munged.pid" >/dev/null || {
        rm -f "$m"/sock*
        munged --key-file="$m/key" --seed-file="$m/seed" --socket="$m/sock" --pid-file="$DIR/run/munged.pid" --log-file="$DIR/log/munged.log"
    }
    alive "$DIR/run/slurmctld.pid" >/dev/null || slurmctld -i
    for ((i = 1; i <= NODES; i++)); do
        alive "$DIR/run/slurmd.n$i.pid" >/dev/null || slurmd -N "n$i"
    done
}

ready() {
    local want
    want=$(seq "$NODES" | wc -l)
    for _ in {1..1200}; do
        [ "$(sinfo -h -N -t idle,alloc,mix -o %N 2>/dev/null | wc -l)" -lt "$want" ] || return 0
        sleep 0.05
    done
    sinfo -N -l >&2 || :
    tail -n 5 "$DIR"/log/*.log >&2 || :
    return 1
}

start() {
    local program missing=() above=$DIR
    for program in munged slurmctld slurmd sbatch; do command -v $program >/dev/null || missing+=("$program"); done
    [ ${#missing[@]} -eq 0 ] || die "not on this machine: ${missing[*]}; lab.sh install gets them on Debian and Ubuntu"
    [ ${#DIR} -le 40 ] || die "$DIR has more than 40 characters, and sockets below it would have more than Unix allows: want a shorter one"
    while above=$(dirname "$above") && [ "$above" != / ]; do
        [ -z "$(find "$above" -maxdepth 0 -perm -002 ! -perm -1000 2>/dev/null)" ] || die "anybody may write in $above, and munged will not run below it: want another folder"
    done
    if alive "$DIR/run/slurmctld.pid" >/dev/null; then
        say "is up already in $DIR"
        return
    fi
    PORT=${PORT:-$(port_run)}
    free "$PORT" || die "port $PORT is in use: set another PORT"
    trap 'say "did not come up"; stop' EXIT
    configure
    daemons
    ready
    trap - EXIT
    say "$NODES nodes with $CPUS CPUs and $GPUS pretended GPUs each are up; now: eval \"\$($0 env $DIR)\""
}

stop() {
    local f pid
    if alive "$DIR/run/slurmctld.pid" >/dev/null; then
        timeout 10 scancel -u "$(id -un)" 2>/dev/null || :
        for _ in {1..150}; do # as long as KillWait and what comes after it take
            [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || break
            sleep 0.1
        done
    fi
    for f in "$DIR"/run/slurmd.*.pid; do
        pid=$(alive "$f") && finish "$pid" slurmd
    done
    for _ in {1..20}; do
        pid=$(steps)
        [ -n "$pid" ] || break
        xargs kill -9 <<<"$pid" 2>/dev/null || :
        sleep 0.1
    done
    pid=$(alive "$DIR/run/slurmctld.pid") && finish "$pid" slurmctld
    pid=$(alive "$DIR/run/munged.pid") && finish "$pid" munged
    rm -rf "${DIR:?}"/{ctld,dev,munge,run,spool,tmp,slurm.conf,gres.conf,mpi.conf,task-prolog}
    say "is down; its logs are in $DIR/log"
}

[ "${1:-}" != install ] || {
    packages
    exit
}
[ $# -eq 2 ] || usage
DIR=$(realpath -m -- "$2")
export SLURM_CONF=$DIR/slurm.conf
case $1 in
start) start ;;
stop) if [ -e "$SLURM_CONF" ]; then stop; else say "nothing runs in $DIR"; fi ;;
env)
    [ -e "$SLURM_CONF" ] || die "nothing runs in $DIR: lab.sh start $2"
    printf 'export SLURM_CONF=%q\n' "$SLURM_CONF"
    ;;
*) usage ;;
esac
