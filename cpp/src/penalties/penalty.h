// The contract of an elementwise penalty R(w) = sum r(w): value, gradient, proximal map.
//
//   struct MyPenalty {
//     static constexpr bool kConstraint = false;  // true: prox alone; value and gradient are 0
//     template <class V> NORMRNN_FN static V value(V w, V center, const V* scalar);     // r(w)
//     template <class V> NORMRNN_FN static V gradient(V w, V center, const V* scalar);  // r'(w)
//     template <class V> NORMRNN_FN static V prox(V w, V center, V step, const V* scalar);
//                                            // argmin over u of step r(u) + (u - w)^2 / 2
//   };
//
// scalar[] holds the float fields of the penalty's Python class, in their order; center is 0 where
// the penalty has no centre.
#pragma once

#include "maths.h"

namespace normrnn::NORMRNN_TARGET {

// S(w, t): towards zero by t, and zero within t of it; NaN stays.
template <class V>
NORMRNN_INLINE V soft_threshold(V w, V t) {
  return w - min(t, max(-t, w));
}

}  // namespace normrnn::NORMRNN_TARGET
