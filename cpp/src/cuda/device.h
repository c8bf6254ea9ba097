// Compiled for a device, cells, penalties and rules are those of the namespace normrnn::device, on
// plain numbers. Included first by every header in cuda/.
#pragma once

#include <cstdint>
#include <cstring>

#ifndef NORMRNN_TARGET
#define NORMRNN_TARGET device
#define NORMRNN_SCALAR
#endif

#include "scalar.h"

namespace normrnn::device {

// NORMRNN_LAMBDA(i) {...}: a function object that captures by value and runs on a device.
#define NORMRNN_LAMBDA [=] NORMRNN_FN

}  // namespace normrnn::device
