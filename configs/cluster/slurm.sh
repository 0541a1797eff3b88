#!/usr/bin/env bash
# raylabel on the machines of a Slurm allocation: sbatch configs/cluster/slurm.sh /shared/config.yaml [key=value ...]
# Ray starts on all of them, the run on the first, and both end together. Submitted again, it continues what a time limit
# cut off. Never run on a real cluster; the tests run it with stand-ins for Slurm and Ray.
#
# The configuration, its input and images, and results_dir (an absolute path) have to be on the shared file system, and so
# does the environment with raylabel, unless every machine has its own.
#SBATCH --job-name=raylabel
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:INT@120
# With model servers of your own (serve: in the configuration):
##SBATCH --gpus-per-node=1
set -euo pipefail

: "${1:?which configuration? sbatch configs/cluster/slurm.sh CONFIG [key=value ...]}"
: "${RAYLABEL_VENV:=$HOME/raylabel-venv}"  # CHANGE, or export it: the environment with raylabel[cluster]
. "$RAYLABEL_VENV/bin/activate"

# Ray runs whatever anybody sends it who has no token to show; one for this job is enough.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN

nodes=${SLURM_JOB_NUM_NODES:-1}
names=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
addresses=$(srun --nodes=1 --ntasks=1 --nodelist="${names%%$'\n'*}" hostname --ip-address)
address=${addresses%% *}

# --exit-zero: records that are left open are no failure for Slurm, whose dependent jobs would not start. Interrupted two
# minutes before the end (--signal), the run stores what is in flight.
srun --nodes="$nodes" --ntasks="$nodes" ray symmetric-run --address "$address:6379" --min-nodes "$nodes" \
  -- python -m raylabel run "$@" --exit-zero ray.address=auto &
run=$!
trap 'kill -INT "$run"' INT
while kill -0 "$run" 2>/dev/null; do
  wait "$run" && status=0 || status=$?
done
exit "$status"
