#!/bin/sh
# keep_ptxas.sh COMPILER ARGUMENTS...: runs nvcc with -Xptxas=-v, and keeps what it says of kernels, their
# registers and spills, beside the object file, for check_spills.cmake. The rest is passed on.
out=
before=
for argument; do
  [ "$before" = -o ] && out=$argument
  before=$argument
done
"$@" -Xptxas=-v 2>"$out.ptxas"
status=$?
grep -v -e '^ptxas info' -e '^    [0-9]* bytes stack frame' -e '^$' "$out.ptxas" >&2
exit $status
