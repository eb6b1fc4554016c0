#!/usr/bin/env bash
# From nothing to verdicts: sets up, plans, runs what has no record, reports, checks the claims.
#
#   ./run_all.sh                 the study quick: a synthetic data set, minutes
#   ./run_all.sh baby            a shipped study (ablations/studies): smoke, quick, baby, controls, published, ...
#   ./run_all.sh my_study.toml   your own
#
# Data sets are looked for in the folders of TMFUN_DATA (a path list) and in data/. Stop it whenever you like:
# finished runs are kept, and the same command goes on from them.
set -euo pipefail

study=${1:-quick}
case $study in
-h | --help)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
*.toml) study=$(realpath "$study") ;;
esac
if [ $# -gt 1 ]; then
    echo "run_all.sh: one study at a time, please (see ./run_all.sh --help)" >&2
    exit 2
fi

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
exec .venv/bin/python -m tmfun all "$study"
