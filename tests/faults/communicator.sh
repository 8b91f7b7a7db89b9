#!/bin/bash
# A rank that hangs or dies must end the whole job soon, with a non-zero exit code and, where somebody is left to say
# it, the reason. Ranks of a host talk by memory, or over MPI as those of several hosts do.
#   communicator.sh MPIRUN COLLECTIVE_LOOP
set -u
mpirun=$1
loop=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0

expect() {  # what condition...
  local what=$1
  shift
  if "$@"; then echo "ok: $what"; else echo "FAILED: $what"; failures=$((failures + 1)); fi
}

# launch SECONDS TIMEOUT [FAILURE]: starts three ranks, sets $job
launch() {
  rm -f "$folder"/*
  "$mpirun" --oversubscribe -np 3 "$loop" "$1" "$2" "$folder" "$transport" ${3:+"$3"} > "$folder/log" 2>&1 &
  job=$!
}

# start TIMEOUT: sets $job once all ranks are at work
start() {
  launch 60 "$1"
  for _ in $(seq 200); do
    [ "$(cat "$folder"/[0-9]* 2>/dev/null | wc -l)" = 3 ] && sleep 0.3 && return
    sleep 0.1
  done
  echo "FAILED: ranks did not start"; cat "$folder/log"; exit 1
}

# end: waits for the job; sets $code and $seconds
end() {
  local begin=$SECONDS
  wait "$job"
  code=$?
  seconds=$((SECONDS - begin))
  echo "exit code $code after $seconds s, and on the way:"
  sed 's/^/    | /' "$folder/log"
}

# No such process, or one that only waits to be reaped.
gone() { [ -z "$(tr -d '\0' 2>/dev/null < "/proc/$1/cmdline")" ]; }

for transport in memory mpi; do
  echo "== $transport: a stopped rank"
  start 3
  victim=$(cat "$folder/1")
  kill -STOP "$victim"
  end
  expect "exit code 6" [ "$code" = 6 ]
  expect "within seconds" [ "$seconds" -le 12 ]
  expect "not before the timeout" [ "$seconds" -ge 2 ]
  expect "the collective, its number and the timeout are named" \
    grep -qE '(exchange|broadcast) #[0-9]+ did not finish within 3 s' "$folder/log"
  expect "the rank that is missing is named" grep -qE 'waits for .*rank 1' "$folder/log"
  sleep 0.5
  expect "the stopped rank is gone" gone "$victim"

  echo "== $transport: a stopped rank that goes on in time"
  start 20
  kill -STOP "$(cat "$folder/1")"
  sleep 2
  kill -CONT "$(cat "$folder/1")"
  sleep 0.5
  expect "the job goes on" kill -0 "$job"
  kill -KILL "$(cat "$folder/1")"
  end
  expect "and a killed rank ends it" [ "$code" != 0 ]

  echo "== $transport: no fault"
  launch 1 30
  end
  expect "exit code 0" [ "$code" = 0 ]
  expect "nothing is said" [ ! -s "$folder/log" ]

  for way in abort leave; do
    echo "== $transport: a rank fails with a collective under way, and then: $way"
    launch 60 60 $way
    end
    expect "its exit code" [ "$code" = 3 ]
    expect "long before the timeout" [ "$seconds" -le 12 ]
    expect "its reason" grep -q "shard 7 is damaged" "$folder/log"
  done

  if [ $transport = memory ]; then  # Open MPI 4.1 writes what is too long beyond the buffer
    echo "== $transport: ranks that disagree about what comes next"
    launch 60 60 disagree
    end
    expect "exit code 6" [ "$code" = 6 ]
    expect "long before the timeout" [ "$seconds" -le 12 ]
    expect "what was sent is named" \
      grep -qE '(exchange|broadcast) #[0-9]+: rank [0-2] sent [0-9]+ bytes of collective #[0-9]+ instead' "$folder/log"
  fi

  echo "== $transport: a killed rank"
  start 60
  survivor=$(cat "$folder/0")
  kill -KILL "$(cat "$folder/2")"
  end
  expect "non-zero exit code" [ "$code" != 0 ]
  expect "within seconds" [ "$seconds" -le 12 ]
  sleep 0.5
  expect "no rank is left" gone "$survivor"
done

exit $((failures > 0))
