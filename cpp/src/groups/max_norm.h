// ||w_g|| <= bound, or = bound: projections. A group of zeros stays. docs/equations.md#max-norm
#pragma once

#include "groups/group.h"

namespace normrnn {

template <bool kEqual>
struct NormBound {
  static constexpr bool kConstraint = true;
  NORMRNN_FN static double value(double, double) { return 0; }
  NORMRNN_FN static double pull(double, double) { return 0; }
  NORMRNN_FN static double factor(double norm, double bound, double) {
    return norm > bound || (kEqual && norm > 0) ? bound / norm : 1;
  }
};

}  // namespace normrnn
