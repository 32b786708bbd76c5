#!/usr/bin/env bash
# What a submitted job runs on the cluster: fetch the data from the DVC remote, run, push the results.
#
#   job.sh SUBMISSION COMMAND…      in the folder that holds the study's files
#
# The study runs in $MEDIMG_JOBS/SUBMISSION, which all nodes must see (default: ~/.medimg/jobs; set it where the cluster
# is started). What an earlier attempt made there is still there, so this one goes on where that one ended.
set -euo pipefail

submission=$1
shift
sent=$PWD
work=${MEDIMG_JOBS:-$HOME/.medimg/jobs}/$submission
umask 077
mkdir -p "$work"
exec 9>"$work/.job.lock"
flock -n 9 || { echo "$submission is running already, in $work" >&2; exit 75; }

# What an earlier attempt has brought about stays: dvc.lock says which stages are done, splits.csv where patients are.
whole() { python -c 'import sys, yaml; sys.exit(not isinstance(yaml.safe_load(open(sys.argv[1])), dict))' "$1" 2>/dev/null; }
stays=()
if [ -e "$work/.job.begun" ]; then
    if whole "$work/dvc.lock"; then stays+=(--exclude=./dvc.lock); else rm -f "$work/dvc.lock"; fi # cut off while it was written
    if [ -s "$work/splits.csv" ]; then stays+=(--exclude=./splits.csv); fi
fi
tar --create --file=- --directory="$sent" --exclude=__pycache__ --anchored "${stays[@]}" . |
    tar --extract --file=- --directory="$work"
touch "$work/.job.begun"
cd "$work"

again() { # run a command, and again when it fails: what is remote may be away for a while
    local wait
    for wait in ${MEDIMG_RETRIES:-5 15 45 120 300} last; do
        if "$@"; then return 0; fi
        [ "$wait" = last ] && return 1
        echo "$1 $2 did not succeed; once more in $wait s" >&2
        sleep "$wait"
    done
}

export DVC_NO_ANALYTICS=1
dvc config --local core.no_scm true # .git was not sent
dvc config --local core.analytics false
echo "fetching the data" >&2
# by force: what a stage of an earlier attempt had begun to write is written anew
again dvc pull --force --allow-missing || { echo "The DVC remote does not give the data." >&2; exit 75; }

"$@"

echo "pushing the results" >&2
if ! { again dvc push && again python -m medimg.cluster.delivery "$submission"; }; then
    echo "The DVC remote does not take the results. They are whole in $work on $(hostname)." >&2
    echo "When it answers again, submit once more: what is done is not done again. Or there: dvc push" >&2
    exit 75
fi
echo "the results are on the DVC remote; at home: medimg collect" >&2
