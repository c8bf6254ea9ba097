// The contract of an update rule: how a gradient becomes a step, element by element.
//
//   struct MyRule {
//     static constexpr int kSlots = 1;            // arrays of the weight's shape kept across steps
//     static constexpr bool kUniformStep = true;  // prox_step is the same for all elements
//     static constexpr bool kDecoupled = false;   // true: a penalty's gradient bypasses the rule
//     template <class V>
//     NORMRNN_FN static V step(V g, V* slot, const V* scalar, V& prox_step);
//   };
//
// step returns what is subtracted from w and sets prox_step, the step size that an exact proximal
// step (or a decoupled penalty) uses at this element. scalar[] is what the rule's Python class
// hands over in scalars(step).
#pragma once

#include "maths.h"
