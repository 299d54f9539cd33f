#!/usr/bin/env bash
# A guide, a teacher that learns from it, and a student by every recipe: all that a results table needs, from one command.
#
#   all.sh PUBLISHED LARGER TRAIN DEV [RECIPE...]
#
# PUBLISHED and LARGER are model directories, TRAIN and DEV labelled texts, RECIPE the name of a file beside this one.
# Writes guide/, teacher/ and a directory for each recipe where it is run. What is there stays, and what was interrupted
# goes on when the same command is given again. From the environment:
#
#   GUIDE, TEACHER, STUDENT   options of the three commands: what a device wants, labels, columns, seeds, a note
#   JOBS                      students trained side by side (1)
set -euo pipefail
if [ $# -lt 4 ]; then
  sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0" >&2
  exit 2
fi
here=$(dirname "$(realpath "$0")")
published=$1 larger=$2 train=$3 dev=$4
shift 4
[ $# -gt 0 ] || set -- 2quad softmax-freediv 2quad-freediv relu-freediv 2quad-freediv-half-roots 2quad-freediv-no-roots
data=(--data "$train" --dev "$dev")
read -ra guide_options <<<"${GUIDE:---epochs 1 --learning-rate 3e-5}"
read -ra teacher_options <<<"${TEACHER:---epochs 4 --learning-rate 1e-4}"

[ -d guide ] || freediv finetune "$larger" --freeze-embeddings "${data[@]}" "${guide_options[@]}" -o guide
[ -d teacher ] ||
  freediv finetune "$published" --freeze-embeddings "${data[@]}" --guide guide --long-share 0.1 "${teacher_options[@]}" -o teacher

student() {
  local options
  read -ra options <<<"${STUDENT:---seeds 3}"
  case $1 in
  softmax-freediv) options+=(--allow-overflow) ;; # asked for by name here: far from its data its values leave the ring
  esac
  [ -d "$1" ] || freediv convert teacher --recipe "$here/$1.yaml" "${@:2}" "${options[@]}" -o "$1"
}
export -f student
export here
printf '%s\n' "$@" | xargs -P "${JOBS:-1}" -I {} bash -c 'student "$@"' student {} "${data[@]}" --published "$published"
freediv results teacher "$@" --markdown
