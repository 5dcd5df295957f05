#!/bin/bash
# Runs an image where there is no container engine: prove.sh IMAGE [IMAGE OF WORKERS]. Needs root, buildah, iproute2.
#
# A master, two workers, a notebook and a driver that searches, each started by the image's entrypoint as the image's
# user, with a hostname, an address and a root file system of its own, as compose.yaml has them; then their health
# checks. BUILDAH may hold buildah and global options.
set -euo pipefail

image=$1 workers=${2:-$1}
read -ra buildah <<<"${BUILDAH:-buildah}"
net=lp$$ folder=$(mktemp -d)
roles=(master worker-1 worker-2 notebook submit)
declare -A container

remove() {
    set +e
    # Spark and Jupyter get SIGTERM by their process groups; what they have started ends with them.
    for job in $(jobs -p); do kill -TERM -- "-$job" 2>/dev/null; done
    wait
    for role in "${roles[@]}"; do ip netns pids "$net-$role" 2>/dev/null | xargs -r kill -KILL 2>/dev/null; done
    for role in "${!container[@]}"; do "${buildah[@]}" rm "${container[$role]}" >/dev/null; done
    for role in "${roles[@]}"; do ip netns del "$net-$role" 2>/dev/null; done
    ip link del "$net" 2>/dev/null
    rm -rf "$folder"
}
trap remove EXIT

# One bridge, one namespace for each role, and the names that compose gives.
ip link add "$net" type bridge
ip link set "$net" up
number=2
echo "127.0.0.1 localhost" >"$folder/hosts"
for role in "${roles[@]}"; do
    ip netns add "$net-$role"
    ip link add "$net$number" type veth peer name eth0 netns "$net-$role"
    ip link set "$net$number" master "$net" up
    ip -n "$net-$role" link set lo up
    ip -n "$net-$role" address add "10.213.0.$number/24" dev eth0
    ip -n "$net-$role" link set eth0 up
    echo "10.213.0.$number $role" >>"$folder/hosts"
    case $role in worker-*) from=$workers ;; *) from=$image ;; esac
    container[$role]=$("${buildah[@]}" from "$from")
    number=$((number + 1))
done

# inside ROLE [VARIABLE=VALUE]… -- COMMAND…: in that container, as the image's user.
inside() {
    local role=$1 variables=()
    shift
    while [ "$1" != -- ]; do variables+=(--env "$1") && shift; done
    nsenter --net="/run/netns/$net-$role" "${buildah[@]}" run --isolation chroot --network host --hostname "$role" \
        --volume "$folder/hosts:/etc/hosts:ro" "${variables[@]}" "${container[$role]}" "$@"
}

# until_healthy CONTAINER ROLE: at most two minutes.
until_healthy() {
    for _ in {1..60}; do
        inside "$1" -- healthy "$2" 2>/dev/null && echo "$1 is healthy" && return
        sleep 2
    done
    echo "$1 is not healthy" >&2
    tail -n 40 "$folder/$1.log" >&2
    return 1
}

set -m
cluster=MASTER=spark://master:7077
inside master -- id
inside master SPARK_DAEMON_MEMORY=256m -- tini -- lethe-entrypoint master >"$folder/master.log" 2>&1 &
until_healthy master master
for worker in worker-1 worker-2; do
    inside "$worker" $cluster SPARK_DAEMON_MEMORY=256m SPARK_WORKER_CORES=1 SPARK_WORKER_MEMORY=1g \
        -- tini -- lethe-entrypoint worker >"$folder/$worker.log" 2>&1 &
done
until_healthy worker-1 worker
until_healthy worker-2 worker
inside notebook $cluster JUPYTER_TOKEN=secret -- tini -- lethe-entrypoint notebook >"$folder/notebook.log" 2>&1 &
until_healthy notebook notebook
inside submit $cluster SPARK_EXECUTOR_MEMORY=512m \
    -- tini -- lethe-entrypoint submit /home/lethe/examples/search_digits.py --trials 12
