// The C++ face of normrnn: forward pass, back-propagation through time, update, head and losses.
//
// T is float or double. Arrays are plain pointers to contiguous memory that the caller owns; every
// one has its shape beside it. T (times), B (batch), I (input), H (hidden), D (directions),
// L (layers), G (gates). Arguments are taken as checked: the bindings do that, with names.
#pragma once

#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "normrnn/update_tensor.h"

namespace normrnn {

// The call was ended by the interrupt check; nothing that the caller can see has changed.
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "interrupted"; }
};

struct Shape {
  int64_t times, batch, input, hidden;
  int layers, directions;
};

template <class T>
struct Weights {            // of one direction of one layer
  const T* ih = nullptr;    // [G*H, I], above the first layer [G*H, D*H]
  const T* hh = nullptr;    // [G*H, H], diagonal cells [H]
  const T* b_ih = nullptr;  // [G*H] or null
  const T* b_hh = nullptr;  // [G*H] or null
  // Cells with layer norm, else null; the last two where the cell state is normalised, too.
  const T* gain_ih = nullptr;  // [G*H]
  const T* gain_hh = nullptr;  // [G*H]
  const T* gain_c = nullptr;   // [H]
  const T* b_c = nullptr;      // [H] or null
};

template <class T>
struct WeightGradients {  // the same shapes; null where the weight is
  T* ih = nullptr;
  T* hh = nullptr;
  T* b_ih = nullptr;
  T* b_hh = nullptr;
  T* gain_ih = nullptr;
  T* gain_hh = nullptr;
  T* gain_c = nullptr;
  T* b_c = nullptr;
};

template <class T>
class Tape;  // what a forward pass leaves for the backward pass

// Weights as the forward pass reads them, made once for many calls, for operands as in
// ForwardCall::bf16. Holds copies: whoever keeps it sees to it that the weights do not change.
template <class T>
class PackedWeights;
template <class T>
std::shared_ptr<const PackedWeights<T>> pack_weights(const std::string& cell, const Shape& shape,
                                                     const std::vector<Weights<T>>& weights,
                                                     bool bf16, int threads);

// Probabilities of being dropped, each in [0, 1) and rounded to a multiple of 2^-16; see
// docs/equations.md#dropout. What is kept is divided by the probability of that, but for zoneout.
struct Dropout {
  double input = 0, output = 0, between = 0;  // of x, of y, and of what layers hand on upwards
  double state = 0;                           // of h in the products with weight_hh
  double candidate = 0;                       // only for cells that have one
  double weight = 0;                          // of weight_hh; not with packed weights
  double zoneout[2] = {};                     // of each state: units that keep their value
  bool per_sequence = false;  // input, output, between, candidate: one mask for all times
  uint64_t seed = 0;
  // False: zoneout takes the mean, for calls without need_grad; the others do nothing.
  bool training = true;
};

template <class T>
struct ForwardCall {
  std::string cell;
  Shape shape;
  std::vector<Weights<T>> weights;                 // [L*D], layer by layer
  std::shared_ptr<const PackedWeights<T>> packed;  // of just these weights, or null
  const T* x;                                      // [T, B, I], or [B, T, I] with batch_first
  bool batch_first = false;
  const int64_t* lengths = nullptr;  // [B], each from 0 to T; null: all T
  std::vector<const T*> initial;     // per state [L*D, B, H], or null for zeros
  T* y;                              // [T, B, D*H], or [B, T, D*H]
  std::vector<T*> final;             // per state [L*D, B, H]
  bool need_grad = true;
  // float32 only: operands of the products with U and W, here and in the backward pass but for the
  // weights' gradients, are rounded to bfloat16. Sums, states and gradients stay float32.
  bool bf16 = false;
  Dropout dropout;
  int threads = 1;
};

// Returns null without need_grad. The weights must stay where they are for as long as the tape.
template <class T>
std::shared_ptr<const Tape<T>> forward(const ForwardCall<T>& call);

// Memory that a tape owns.
template <class T>
int64_t bytes_of(const Tape<T>& tape);

// A penalty on the states of one direction of one layer; docs/equations.md#state-penalties.
enum class StatePenaltyKind : int { kActivityL1, kActivityL2, kAr, kTar, kNormStabilizer, kOmega };
struct StatePenalty {
  StatePenaltyKind kind;
  double strength;  // >= 0
  // Omega, for cells whose dL/drec W is all of what goes to the step before (Elman's): ratios of
  // squared norms, and the ||dL/dh_t||^2 below which a step does not count
  bool squared = false;
  double floor = 0;
};

template <class T>
struct BackwardCall {
  const T* dy;                                       // like y, or null for zeros
  std::vector<const T*> d_final;                     // per state [L*D, B, H], or null for zeros
  std::vector<WeightGradients<T>> d;                 // [L*D]
  T* dx;                                             // like x
  std::vector<T*> d_initial;                         // per state [L*D, B, H]
  T* h_norm;                                         // [L*D, T]
  std::vector<std::vector<StatePenalty>> penalties;  // [L*D] lists, or empty for none
  double clip_state = std::numeric_limits<double>::infinity();  // of each element of dL/dh_t, > 0
  T* h_norm_clipped = nullptr;  // [L*D, T] after the clip, or null where there is none
  int threads = 1;
};

// Returns the value of the penalties. Throws std::invalid_argument if a weight has changed since
// the forward pass.
template <class T>
double backward(const Tape<T>& tape, const BackwardCall<T>& call);

// y = h w^T + b over `rows` rows; h [rows, inputs], w [outputs, inputs], b [outputs] or null.
struct HeadShape {
  int64_t rows, inputs, outputs;
};
template <class T>
void head_forward(const HeadShape& shape, const T* h, const T* w, const T* b, T* y, int threads);
template <class T>
void head_backward(const HeadShape& shape, const T* h, const T* w, const T* dy, T* dh, T* dw, T* db,
                   int threads);

// Losses: the sum over counted elements, and its derivative times scale. A row whose mask is 0, or
// whose class is -1, is not counted and gets derivative 0.
enum class ElementLoss : int { kSquaredError, kSigmoidCrossEntropy };
template <class T>
double element_loss(ElementLoss kind, const T* y, const T* target, const bool* mask, int64_t rows,
                    int64_t columns, T scale, T* dy, int threads);
template <class T>
double softmax_cross_entropy(const T* logits, const int64_t* target, int64_t rows, int64_t classes,
                             T scale, T* d_logits, int threads);

// The regularised update, in place over all tensors.
template <class T>
struct UpdateCall {
  std::vector<UpdateTensor<T>> tensors;
  std::vector<double> group_strength;  // of every group: its weight times lambda, or its bound
  int rule;                            // index in rule_names()
  T rule_scalar[kMaxScalars];
  // At most one of three ways to hold the loss's gradients; infinity: not at all. To a norm of all
  // of them; each into [-clip_value, clip_value]; each row to clip_ratio times the norm of its
  // weights.
  double clip_norm, clip_value, clip_ratio;
  // Look at all gradients first, as clipping does anyway, and throw NonFinite before any weight is
  // touched; else one pass does everything, and a gradient that is not finite shows in grad_norm.
  bool check_finite = true;
  int threads = 1;
};
struct UpdateResult {
  double penalty, grad_norm, clipped_norm, update_norm, param_norm, clip_scale;
};
// A gradient that is not finite: thrown before any weight is touched.
struct NonFinite : std::exception {
  NonFinite(int tensor, int64_t index, double value) : tensor(tensor), index(index), value(value) {}
  const char* what() const noexcept override { return "gradient is not finite"; }
  int tensor;
  int64_t index;
  double value;
};
template <class T>
UpdateResult update(const UpdateCall<T>& call);

}  // namespace normrnn
