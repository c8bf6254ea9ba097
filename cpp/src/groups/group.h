// The contract of a penalty or constraint on the norms of groups of weights, R(w) = sum r(||w_g||).
//
//   struct MyGroup {
//     static constexpr bool kConstraint = false;
//     static double value(double norm, double strength);   // r, with the group's own strength
//     static double pull(double norm, double strength);    // r' / norm: the gradient is pull * w
//     static double factor(double norm, double strength, double step);  // the prox is factor * w
//   };
//
// A constraint has value and pull 0, and a factor that does not depend on the step. Of the others
// only norms themselves, r = strength * norm, can also be solved where each weight has a step size of
// its own (see group_solver.h).
#pragma once

namespace normrnn {

struct GroupKind {  // the same, as the driver sees it
  const char* name;
  bool constraint;
  double (*value)(double norm, double strength);
  double (*pull)(double norm, double strength);
  double (*factor)(double norm, double strength, double step);
};

}  // namespace normrnn
