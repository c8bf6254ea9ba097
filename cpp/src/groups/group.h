// The contract of a penalty or constraint on the norms of groups of weights, R(w) = sum r(||w_g||).
//
//   struct MyGroup {
//     static constexpr bool kConstraint = false;
//     // r, with the group's own strength; r' / norm, so that the gradient is pull * w; and what
//     // the prox multiplies w by
//     NORMRNN_FN static double value(double norm, double strength);
//     NORMRNN_FN static double pull(double norm, double strength);
//     NORMRNN_FN static double factor(double norm, double strength, double step);
//   };
//
// A constraint has value and pull 0, and a factor that does not depend on the step. Of the others
// only norms themselves, r = strength * norm, can also be solved where each weight has a step size
// of its own (see group_solver.h).
#pragma once

#include "fn.h"

namespace normrnn {

struct GroupKind {  // the same, as the driver sees it
  const char* name;
  bool constraint;
  double (*value)(double norm, double strength);
  double (*pull)(double norm, double strength);
  double (*factor)(double norm, double strength, double step);
};

}  // namespace normrnn
