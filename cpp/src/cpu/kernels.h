// What a CPU target offers, as plain structs of pointers: the seam between the drivers, compiled
// once, and the kernels, compiled once per target. No code in here, so nothing can be merged
// wrongly by the linker.
//
// Packed rows: the steps of a batch are stored one behind the other, sequences sorted longest
// first, so step t owns rows [offset[t], offset[t+1]) and padding does not exist. "Row i" below is
// such a packed row; slot[i] is its place t*B + b (or b*T + t) in the caller's array.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/bf16.h"
#include "normrnn/update_tensor.h"

namespace normrnn {

class Worker;  // cpu/threads.h

constexpr int kMaxStates = 4;
constexpr int kMaxGates = 8;
constexpr int kMaxSegments = 2;  // an input is the output of one or two directions

namespace cpu {

// Row i of a matrix is at data + (slot ? slot[i] : i) * ld. A null matrix counts as zero.
template <class T>
struct Rows {
  T* data = nullptr;
  int64_t ld = 0;
  const int64_t* slot = nullptr;
};

// One K-segment of a product: a[rows, k] times packed panels of b[k, columns]. E is what operands
// are: the arrays' own type T, or pairs of bfloat16, which are two rows of b and count once in k.
template <class E>
struct Segment {
  const E* a = nullptr;  // [rows, k], unit stride along k
  int64_t ld = 0;
  int64_t k = 0;
  const E* b = nullptr;     // panels, each [k, panel width]; gates apart: tile.h
  const E* next = nullptr;  // to fetch ahead meanwhile; null: the panel behind b
};

// Which elements of a matrix of rows are kept, and what those are multiplied by. Bit j of a row is
// bit j % 32 of its word j / 32. Without bits all are kept as they are. Here and in Masks there is no
// padding: on a device calls with the same bytes are recorded once.
template <class T>
struct Mask {
  const uint32_t* bits = nullptr;  // [rows, ld]: a row per packed row, or per sequence
  int64_t ld = 0;
  int64_t per_sequence = false;
  double scale = 1;  // of type T
};

// Where the bits of a mask come from: see cpu/mask-inl.h.
struct MaskSource {
  uint64_t seed;
  uint32_t stream;
  uint16_t threshold;  // an element is kept if its 16 random bits reach it
};

// The masks in the loop over time of one direction of one layer; each is over H columns.
template <class T>
struct Masks {
  int64_t any = false;  // also where blend is not 0
  Mask<T> output;       // of y
  Mask<T> state;        // of h_{t-1} in the product with W
  Mask<T> candidate;
  Mask<T> zoneout[kMaxStates];  // kept: the new state, else the one before; no scale
  T blend[kMaxStates] = {};     // or the share of the one before in a mean of both
};

// Two neighbouring layers may run at the same time, each on one worker: one leads and tells how far
// it is, the other follows.
enum class Pace : int { kAlone, kLead, kFollow };

// Layer norm of the rows of one matrix: gain * (a - mean) / sqrt(variance + 1e-5) + bias. What is
// normalised is kept as it was, with two numbers a row: the product writes it there anyway.
template <class T>
struct Norm {
  int64_t width;         // 0: no such norm
  const T *gain, *bias;  // [width] each
  T* raw;                // [rows, ld]
  int64_t ld;
  T* moments;  // [rows, 2] mean and 1 / sqrt(variance + 1e-5)
};
enum NormKind : int { kInputNorm, kRecurrentNorm, kStateNorm, kNormKinds };

// Norms of a layer, for cells with layer norm. The columns of U x are in the order of d_gates.
template <class T>
struct LayerNorms {
  Norm<T> of[kNormKinds];
  // Whether rows are packed rows, for the backward pass; else they are reused: U x has those of a
  // chunk of steps, the others one for each sequence.
  bool keep;
};

// What each worker does of a layer: some sequences, and nobody waits, or some panels of hidden units,
// with a barrier each step.
struct Shares {
  const int64_t* begin;  // [workers + 1] first row of the batch, or first panel
  bool of_rows;
};

// One direction of one layer, forwards in time.
template <class T, class E>
struct LayerForward {
  int64_t hidden, batch, times;
  const int64_t* offset;  // [times + 1]
  bool reverse;
  int segments;
  Segment<E> input[kMaxSegments];  // a: packed rows of the layer's input
  const E* recurrent;              // packed weight_hh
  const T* bias;                   // packed, one panel-wide row per panel
  // States: block of B initial rows, then one block per step at B + offset[t] where the whole
  // history is kept, else two blocks of B rows used in turn. Row stride state_ld.
  T* state[kMaxStates];
  bool keep[kMaxStates];
  int64_t state_ld;
  E* h;  // states[0] as operands, in the same rows: state[0] itself where E is T
  int64_t h_ld;
  T* tape;  // [N, kTape, tape_ld], or null
  int64_t tape_ld;
  Rows<T> y;  // [N rows of H], or null
  Masks<T> masks;
  T* masked_h;    // states[0] as masks.state leaves it, in the same rows, or null; h is made of it
  E* y_operands;  // y's packed rows as operands, or null
  Shares shares;
  // [product_rows >= rows of any step, product_ld] for bias + U x of a chunk of steps; null: at
  // each step
  T* input_product;
  int64_t product_rows, product_ld;
  Pace pace;
  LayerNorms<T> norms;  // cells with layer norm
  // Rows as the cell takes them: one for each worker, or where units are split for each sequence.
  T* gate_rows;
  int64_t gate_rows_ld;
  const T* diagonal;  // [H] weight_hh of diagonal cells
};

// c[i, :] = bias + sum over segments of a[i, :] b, for rows [0, rows).
template <class T, class E = T>
struct MatMul {
  int64_t rows, columns;
  int segments;
  Segment<E> segment[kMaxSegments];
  const T* bias;  // [columns] or null
  Rows<T> c;
};

// What state penalties and clipping do to dL/dh_t in the time loop, row i of step t:
//   dL/dh_t += (l2 + row_scale[i]) h_t + l1 sign(h_t) + tar ((h_t - h_before) + (h_t - h_after)),
// the neighbours being the sequence's own steps, then a clip of every element to [-clip, clip].
template <class T>
struct StateTerms {
  bool any;  // false: nothing of all this
  T l1, l2, tar;
  const T* row_scale;  // [N], or null for zeros
  T clip;
  double* clipped_parts;  // [N, panels] like norm_parts, after the clip; null: no clip
  T* products;            // [N, state_ld] dL/drec_t W, to be kept; or null
  double* product_parts;  // [N, panels] their squared norms, if kept
};

// The same layer and direction, backwards in time.
template <class T, class E>
struct LayerBackward {
  int64_t hidden, batch, times;
  const int64_t* offset;
  bool reverse;
  const E* recurrent;  // packed weight_hh, transposed sense: panels over H, k over G gates
  const T* state[kMaxStates];
  int64_t state_ld;
  const T* tape;
  int64_t tape_ld;
  Rows<const T> dy;  // [N rows of H], or null
  Masks<T> masks;
  T* d_state;  // [kStates, B, state_ld]: in dL/d final states, out dL/d initial states
  T* d_gates;  // [N, gates_ld]: split gates' x part, shared gates, split gates' rec part
  int64_t gates_ld;
  // d_gates as operands, `gate_operands` for each gate: d_gates itself where E is T.
  E* operands;
  int64_t operands_ld, gate_operands;
  double* norm_parts;  // [N, panels] squared norms of dL/dh_t per row and panel of units
  StateTerms<T> terms;
  Shares shares;
  Pace pace;
  const MatMul<T, E>* above;  // for one that follows: dy from the leading layer's gates
  int64_t above_rows;         // about how many of its rows to do at a time
  // Cells with layer norm: d_gates is dL/d what the cell takes; after the loop norm_gradients makes
  // its input part dL/d U x. dL/d W h is made in the loop, here.
  LayerNorms<T> norms;
  T* d_rec;  // [N, d_rec_ld] gates in the weights' order
  int64_t d_rec_ld;
  E* rec_operands;  // the same as operands
  int64_t rec_operands_ld;
  // Where units are split each worker makes all of a step's dL/d W h by itself: the next product
  // needs it, and so it waits for nobody.
  T* own_rec;       // [workers, B, d_rec_ld]
  E* own_operands;  // [workers, B, rec_operands_ld]
  T* norm_rows;     // [workers, norm_rows_ld] room for one row of dL/dc
  int64_t norm_rows_ld;
  const T* diagonal;    // [H] weight_hh of diagonal cells
  const T* diagonal_h;  // h as they were applied to: states[0], or what a mask left of it
  double* d_diagonal;   // [H rounded up to a panel] and their gradient
};

// Gradients of the gains and the biases of a layer's norms. They are summed in blocks of rows, and
// these in turn.
constexpr int64_t kNormBlock = 64;
template <class T, class E>
struct NormGradients {
  const LayerBackward<T, E>* layer;
  int64_t rows;
  T* parts;  // [blocks, sums_size]
  T* sums;   // [sums_size] for each norm d gain [width], d bias [width]
  int64_t sums_size;
};

// c[m, n] = sum over rows i of a[i, m] * b[map(i), n], and column sums of a.
struct ColumnBlock {  // columns [from, from + count) of a become rows [to, to + count) of c
  int64_t from, to, count;
};
template <class T>
struct Outer {
  int64_t rows;
  const T* a;  // [rows, a_ld]
  int64_t a_ld;
  ColumnBlock block[2];
  int blocks;
  const T* b;  // [*, b_ld], or null: only the sums
  int64_t b_ld;
  const int64_t* map;  // [rows] row of b for each i, or null: i
  int64_t columns;     // of b
  T* c;                // [M, c_ld]
  int64_t c_ld;
  T* sums;  // [M] or null
};

// Sums over the units of a row of h: |h|, h^2 and (h - h of the step before)^2.
struct StateSums {
  double absolutes, squares, steps;
};

// What holds for all elements of an update.
template <class T>
struct UpdateScale {
  const T* rule_scalar;      // [kMaxScalars]
  T clip_scale, clip_value;  // of the gradients: a factor, then the largest size
  bool clips;                // whether these or a row's factor change any
  bool sum_gradients;        // whether their squares are asked for
  int64_t ahead;             // by how many elements memory is read ahead; 0: not at all
};

// What one pass of an update sums up; grad_squares after clipping.
struct UpdateSums {
  double penalty, grad_squares, update_squares, param_squares;
};

// Rows [begin, end) of a matrix whose elements are in groups. Of an array with an entry for each
// group, element (r, c) has entry (r - begin) * row_step + c * column_step.
struct GroupRows {
  int64_t columns, begin, end;
  int64_t row_step, column_step;
};

// What a step sums up for each group, added to [groups] each: squares of the weights before and
// after it, and either squares of what it changed them by, d, and products d w with the weights
// before; or squares of those after times their step size.
struct GroupSums {
  double *before, *after;
  double *change, *cross;
  double* weighted;  // null: the two above
};

// What is kept of a step where each weight has a step size of its own, from the first of the rows
// on.
template <class T>
struct StepKeep {
  T* w;  // before the step
  T* step_size;
};

// The kernels of a cell that take operands.
template <class T, class E>
struct LayerKernels {
  void (*forward)(const LayerForward<T, E>&, Worker&);
  void (*backward)(const LayerBackward<T, E>&, Worker&);
  void (*norm_gradients)(const NormGradients<T, E>&, Worker&);  // cells with layer norm, else null
  // Panels [begin, end) of a weight [G*H, k] for the forward pass; the input's or the recurrent one
  void (*pack_input)(const T* w, int64_t ld, int64_t k, int64_t hidden, int64_t begin, int64_t end,
                     E* packed);
  void (*pack_recurrent)(const T* w, int64_t ld, int64_t k, int64_t hidden, int64_t begin,
                         int64_t end, E* packed);
};

template <class T>
struct CellKernels {
  const char* name;
  int gates, split, states, tape;  // gates: row blocks of the weights
  int inner;  // 1 if the cell state is normalised, too: one more gate for the cell
  bool layer_norm, diagonal;
  int panel_units;  // hidden units in a panel
  LayerKernels<T, T> same;
  LayerKernels<T, Bf16Pair> bf16;  // null for double
  void (*pack_bias)(const T* bias_ih, const T* bias_hh, int64_t hidden, T* packed);
};

// Plain products.
template <class T, class E>
struct ProductKernels {
  void (*matmul)(const MatMul<T, E>&, Worker&);
  // Panels [begin, end) of b[k, columns]. For each block, rows [to, to + count) of b become the
  // panel's operands from `from` on.
  void (*pack)(const T* b, int64_t ld, const ColumnBlock* blocks, int count, int64_t k,
               int64_t columns, int64_t begin, int64_t end, E* packed);
  // Takes numbers of type T as they are; pairs of a matrix unit hold 16 bits of each. `memory`: the
  // worker's own, outer_bytes of it, a multiple of 64 at a multiple of 64.
  void (*outer)(const Outer<T>*, int count, Worker&, void* memory);
  int64_t outer_bytes;
};

template <class T>
struct Kernels {
  const CellKernels<T>* cells;
  int panel_width;  // columns of a panel in MatMul and LayerBackward
  int lanes;
  ProductKernels<T, T> same;
  ProductKernels<T, Bf16Pair> bf16;  // null for double
  // Rows of `count` numbers as pairs, zero from there to the end of the vector. Null for double.
  void (*to_pairs)(const T* from, int64_t ld, int64_t rows, int64_t count, Bf16Pair* to,
                   int64_t to_ld);
  // Row of a mask: the bits of `columns` elements, rounded up to 64.
  void (*fill_mask)(const MaskSource&, uint32_t sequence, uint32_t time, int64_t columns,
                    uint32_t* bits);
  // Row of numbers as a mask leaves it; from and to may be the same.
  void (*mask_row)(const Mask<T>&, int64_t packed_row, int64_t sequence, int64_t columns,
                   const T* from, T* to);
  void (*pack_transposed)(const T* b, int64_t ld, int64_t k, int64_t columns, int64_t begin,
                          int64_t end, T* packed);

  StateSums (*state_sums)(const T* h, const T* before, int64_t count);
  void (*add_product)(const T* h, T outer, T inner, int64_t count, T* row);
  double (*squares)(const T* values, int64_t count);
  // By rule and penalty, in the order of rules.def and penalties.def. Elements [begin, end).
  void (*update)(int rule, const UpdateTensor<T>&, const UpdateScale<T>&, int64_t begin,
                 int64_t end, UpdateSums& sums);
  // Rows of a tensor that is looked at as a matrix; see update-groups-inl.h. clip: a factor for the
  // gradients of each row; pull: for each group, times w a further gradient; both or null. Returns
  // the step size of the last weight.
  T (*step_rows)(int rule, const UpdateTensor<T>&, const UpdateScale<T>&, const GroupRows&,
                 const T* clip, const T* pull, const GroupSums*, const StepKeep<T>&,
                 UpdateSums& sums);
  void (*scale_rows)(T* w, const GroupRows&, const T* factor);
  void (*root_sums)(const T* w, const T* step_size, const GroupRows&, const T* root,
                    const T* strength, double* squares, double* over);
  void (*scale_by_roots)(T* w, const StepKeep<T>&, const GroupRows&, const T* root,
                         const T* strength, UpdateSums& sums);
  void (*group_squares)(const T* values, const GroupRows&, T scale, double* sums);
  int64_t (*multiply_adds)(int64_t rounds, T* sink);  // see peak.h
  void (*stream)(T* w, const T* g, int64_t count);
  uint64_t (*fingerprint)(const T* values, int64_t count);
  double (*loss)(int kind, const T* y, const T* target, T scale, int64_t count, T* dy);
  double (*softmax)(const T* logits, int64_t target, T scale, int64_t classes, T* d_logits);
};

// What a target has of its own that is otherwise like another.
struct Bf16Kernels {
  const char* name;
  const LayerKernels<float, Bf16Pair>* cells;
  ProductKernels<float, Bf16Pair> products;
};

struct Target {
  const char* name;
  const Kernels<float>* f32;
  const Kernels<double>* f64;
};

}  // namespace cpu
}  // namespace normrnn
