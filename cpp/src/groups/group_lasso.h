// r = strength ||w_g||; strength holds the group's weight. docs/equations.md#group-lasso
#pragma once

#include "groups/group.h"

namespace normrnn {

struct GroupLasso {
  static constexpr bool kConstraint = false;
  NORMRNN_FN static double value(double norm, double strength) { return strength * norm; }
  NORMRNN_FN static double pull(double norm, double strength) {
    return norm > 0 ? strength / norm : 0;
  }
  NORMRNN_FN static double factor(double norm, double strength, double step) {
    return norm > step * strength ? 1 - step * strength / norm : 0;
  }
};

}  // namespace normrnn
