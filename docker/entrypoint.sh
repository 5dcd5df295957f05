#!/bin/sh
# What a container of the image is: master | worker [MASTER] | connect | notebook | submit ARGUMENTS…, or any command.
#
# MASTER=spark://HOST:7077 is the cluster of all but the master; without it sessions run on local[*].
set -eu

role=${1:-notebook}
[ $# -eq 0 ] || shift

case $role in
master)
    exec spark-class org.apache.spark.deploy.master.Master \
        --host "${SPARK_MASTER_HOST:-$(hostname)}" --port 7077 --webui-port 8080 "$@"
    ;;
worker)
    if [ $# -eq 0 ] && [ -z "${MASTER:-}" ]; then
        echo "a worker needs its master: set MASTER=spark://HOST:7077" >&2
        exit 64
    fi
    # Cores and memory: SPARK_WORKER_CORES, SPARK_WORKER_MEMORY.
    exec spark-class org.apache.spark.deploy.worker.Worker --webui-port 8081 "${@:-$MASTER}"
    ;;
connect)
    exec spark-submit --class org.apache.spark.sql.connect.service.SparkConnectServer \
        --conf spark.connect.grpc.binding.port=15002 "$@" spark-internal
    ;;
notebook)
    # The token is JUPYTER_TOKEN; without one Jupyter makes one and prints it.
    exec jupyter lab --ip=0.0.0.0 --port=8888 --no-browser --ServerApp.root_dir=/home/lethe "$@"
    ;;
submit)
    exec spark-submit "$@"
    ;;
*)
    exec "$role" "$@"
    ;;
esac
