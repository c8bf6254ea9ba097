// The elementary functions under cells, penalties and rules: on a CPU target's vectors, or, where
// NORMRNN_SCALAR is defined, on plain numbers.
#pragma once

#if defined(NORMRNN_SCALAR)
#include "scalar.h"
#else
#include "elementary.h"
#endif
