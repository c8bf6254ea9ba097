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

#include <cmath>

#include "fn.h"

namespace normrnn {

// A pull or factor as T holds it. Next to nothing divides a strength or a bound to more than that:
// then the weights are multiplied by the most there is, and no product with them overflows.
template <class T>
NORMRNN_FN inline T held(double factor) {
  constexpr double kMost = sizeof(T) == 4 ? 0x1.fffffep127 : 0x1.fffffffffffffp1023;
  return T(factor > kMost ? kMost : factor);
}

// Squares of large float64 numbers are infinite; those of the numbers times this are not.
constexpr double kGroupScale = 0x1p-600;
NORMRNN_FN inline double norm_of(double squares, double squares_of_scaled) {
  return squares - squares == 0 ? std::sqrt(squares) : std::sqrt(squares_of_scaled) / kGroupScale;
}

struct GroupKind {  // the same, as the driver sees it
  const char* name;
  bool constraint;
  double (*value)(double norm, double strength);
  double (*pull)(double norm, double strength);
  double (*factor)(double norm, double strength, double step);
};

}  // namespace normrnn
