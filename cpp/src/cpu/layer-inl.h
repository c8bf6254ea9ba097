// The time loop of one direction of one layer, forwards and backwards, for any cell.
//
// A step is a product of tiles with the cell as its epilogue. Rows (sequences) are sorted longest
// first, so a step works on the first rows_at(t) of them and padding costs nothing. Workers split
// either the batch, and never wait for each other, or the hidden units, with a barrier each step.
#pragma once

#include "cpu/gemm.h"

namespace normrnn::NORMRNN_TARGET {

using cpu::LayerBackward;
using cpu::LayerForward;

// How a cell's gates lie in a tile: kSets groups of kUnits vectors.
template <class Cell>
struct Layout {
  static constexpr int kAll = Cell::kGates + Cell::kSplit;
  static constexpr int kUnits = kAll == 1 ? 2 : 1;  // vectors of hidden units in a panel
  static constexpr int kRows = tile_rows(kAll * kUnits);
  template <class T>
  static constexpr int kPanel = kUnits * kLanes<T>;  // hidden units in a panel
  template <class T>
  static constexpr int kWidth = kAll * kPanel<T>;
  // Order in a tile and in d_gates: split gates' x part, shared gates, split gates' rec part.
  // U's gates are then the first kGates places and W's the last kGates, each without a gap.
  static constexpr int place_of_input(int gate) {
    constexpr int kShared = Cell::kGates - Cell::kSplit;
    return gate < kShared ? Cell::kSplit + gate : gate - kShared;
  }
  static constexpr int place_of_recurrent(int gate) { return Cell::kSplit + gate; }
};

// Steps in the order of the recursion: time t, its packed rows and how many.
struct Clock {
  const int64_t* offset;
  int64_t times;
  bool reverse;
  int64_t time(int64_t step) const { return reverse ? times - 1 - step : step; }
  int64_t begin(int64_t step) const { return offset[time(step)]; }
  int64_t rows(int64_t step) const {
    if (step < 0 || step >= times) return 0;
    return offset[time(step) + 1] - offset[time(step)];
  }
};

struct Range {
  int64_t begin, end;
};

// A worker's share of rows and panels.
struct Share {
  Range rows, panels;
};

NORMRNN_INLINE Share share_of(const Worker& worker, const int64_t* row_begin, int64_t batch,
                              int64_t panels) {
  if (worker.size() == 1) return {{0, batch}, {0, panels}};  // also where the pool was busy
  if (row_begin) {
    return {{row_begin[worker.rank()], row_begin[worker.rank() + 1]}, {0, panels}};
  }
  return {{0, batch},
          {panels * worker.rank() / worker.size(), panels * (worker.rank() + 1) / worker.size()}};
}

NORMRNN_INLINE Range overlap(Range a, Range b) {
  return {max_of(a.begin, b.begin), min_of(a.end, b.end)};
}

// Row of the state block that step `step` writes; step -1 is the initial block.
template <class T>
NORMRNN_INLINE int64_t state_block(const LayerForward<T>& op, const Clock& clock, int s,
                                   int64_t step) {
  if (step < 0) return 0;
  return op.batch + (op.keep[s] ? clock.begin(step) : (step & 1) * op.batch);
}

// The cell on rows [r, r + rows) and one panel of units, from the tile of pre-activations.
template <class Cell, class T>
void forward_epilogue(const LayerForward<T>& op, const T* tile, int64_t rows, int64_t panel,
                      const int64_t* prev_row, const int64_t* next_row, int64_t packed_row) {
  using L = Layout<Cell>;
  constexpr int kL = kLanes<T>;
  for (int64_t m = 0; m < rows; ++m) {
    for (int v = 0; v < L::kUnits; ++v) {
      const int64_t unit = panel * L::template kPanel<T> + v * kL;
      const int n = int(min_of(kL, op.hidden - unit));
      if (n <= 0) break;
      const T* at = tile + m * L::template kWidth<T> + v * kL;
      Vec<T> pre[Cell::kGates], rec[Cell::kSplit + 1], tape[Cell::kTape + 1];
      Vec<T> prev[Cell::kStates], next[Cell::kStates];
      for (int g = 0; g < Cell::kGates; ++g) {
        pre[g] = load(at + L::place_of_input(g) * L::template kPanel<T>);
      }
      for (int g = 0; g < Cell::kSplit; ++g) {
        rec[g] = load(at + (Cell::kGates + g) * L::template kPanel<T>);
      }
      for (int s = 0; s < Cell::kStates; ++s) {
        prev[s] = load(op.state[s] + (prev_row[s] + m) * op.state_ld + unit);
      }
      Cell::forward(pre, rec, prev, next, tape);
      for (int s = 0; s < Cell::kStates; ++s) {
        store(op.state[s] + (next_row[s] + m) * op.state_ld + unit, next[s]);
      }
      if (op.tape) {
        for (int j = 0; j < Cell::kTape; ++j) {
          store(op.tape + ((packed_row + m) * Cell::kTape + j) * op.tape_ld + unit, tape[j]);
        }
      }
      if (op.y.data) {
        const int64_t i = packed_row + m;
        store_n(op.y.data + (op.y.slot ? op.y.slot[i] : i) * op.y.ld + unit, next[0], n);
      }
    }
  }
}

template <class Cell, class T>
void layer_forward(const LayerForward<T>& op, Worker& worker) {
  using L = Layout<Cell>;
  const int64_t panels = (op.hidden + L::template kPanel<T> - 1) / L::template kPanel<T>;
  const Clock clock{op.offset, op.times, op.reverse};
  const Share share = share_of(worker, op.row_begin, op.batch, panels);
  alignas(64) T tile[L::kRows * L::template kWidth<T>];
  int64_t depth = op.hidden;
  for (int s = 0; s < op.segments; ++s) depth += op.input[s].k;

  for (int64_t step = 0; step < op.times; ++step) {
    const int64_t now = clock.rows(step);
    const int64_t running = min_of(now, clock.rows(step - 1));  // the others start here
    const Range parts[2] = {overlap(share.rows, {0, running}), overlap(share.rows, {running, now})};
    for (int64_t p = share.panels.begin; p < share.panels.end; ++p) {
      const T* start = op.bias + p * L::template kWidth<T>;
      for (int part = 0; part < 2; ++part) {
        int64_t prev_block[Cell::kStates], next_block[Cell::kStates];
        for (int s = 0; s < Cell::kStates; ++s) {
          prev_block[s] = part == 0 ? state_block(op, clock, s, step - 1) : 0;
          next_block[s] = state_block(op, clock, s, step);
        }
        const auto [begin, end] = parts[part];
        const int64_t height = even_height(end - begin, L::kRows);
        for (int64_t r = begin; r < end; r += height) {
          const int64_t rows = min_of(height, end - r);
          const int64_t packed_row = clock.begin(step) + r;
          Segment<T> input[kMaxSegments];
          for (int s = 0; s < op.segments; ++s) {
            input[s] = op.input[s];
            input[s].a += packed_row * input[s].ld;
            input[s].b += p * input[s].k * Cell::kGates * L::template kPanel<T>;
          }
          const Segment<T> recurrent{
              op.state[0] + (prev_block[0] + r) * op.state_ld, op.state_ld, op.hidden,
              op.recurrent + p * op.hidden * Cell::kGates * L::template kPanel<T>};
          step_tile_of<T, L::kRows, Cell::kGates, Cell::kSplit, L::kUnits>(
              rows, start, input, op.segments, recurrent, tile);
          int64_t prev_row[Cell::kStates], next_row[Cell::kStates];
          for (int s = 0; s < Cell::kStates; ++s) {
            prev_row[s] = prev_block[s] + r;
            next_row[s] = next_block[s] + r;
          }
          forward_epilogue<Cell, T>(op, tile, rows, p, prev_row, next_row, packed_row);
          if (worker.cancelled(rows * depth * L::template kWidth<T>)) return;
        }
      }
    }
    if (!op.row_begin && !worker.barrier()) return;
  }
}

// dL/dh_t = product + direct part + dy_t, then the cell backwards. The tile holds the product.
template <class Cell, class T>
void backward_epilogue(const LayerBackward<T>& op, const T* tile, int64_t rows, int64_t panel,
                       int64_t panels, int64_t first, const Clock& clock, int64_t step) {
  using L = Layout<Cell>;
  constexpr int kL = kLanes<T>;
  for (int64_t m = 0; m < rows; ++m) {
    const int64_t r = first + m;
    const int64_t i = clock.begin(step) + r;
    // A sequence that begins at this step has its previous state in the initial block.
    const bool begins = r >= clock.rows(step - 1);
    const int64_t prev_row = begins ? r : op.batch + clock.begin(step - 1) + r;
    Doubles norm[2] = {};
    for (int v = 0; v < kDenseSets; ++v) {
      const int64_t unit = panel * kDenseWidth<T> + v * kL;
      const int n = int(min_of(kL, op.hidden - unit));
      if (n <= 0) break;
      Vec<T> prev[Cell::kStates], next[Cell::kStates], d_state[Cell::kStates];
      Vec<T> tape[Cell::kTape + 1], d_pre[Cell::kGates], d_rec[Cell::kSplit + 1];
      for (int s = 0; s < Cell::kStates; ++s) {
        prev[s] = load(op.state[s] + prev_row * op.state_ld + unit);
        next[s] = load(op.state[s] + (op.batch + i) * op.state_ld + unit);
        d_state[s] = load(op.d_state + (s * op.batch + r) * op.state_ld + unit);
      }
      for (int j = 0; j < Cell::kTape; ++j) {
        tape[j] = load(op.tape + (i * Cell::kTape + j) * op.tape_ld + unit);
      }
      d_state[0] += load(tile + m * kDenseWidth<T> + v * kL);
      if (op.dy.data) {
        const T* dy = op.dy.data + (op.dy.slot ? op.dy.slot[i] : i) * op.dy.ld + unit;
        d_state[0] += load_n(dy, n);
      }
      if (n < kL) {  // lanes past the last unit must not reach the norm
        alignas(64) T lanes[kL] = {};
        store_n(lanes, d_state[0], n);
        d_state[0] = load(lanes);
      }
      add_squares(norm, d_state[0]);
      Cell::backward(tape, prev, next, d_state, d_pre, d_rec);
      for (int s = 0; s < Cell::kStates; ++s) {
        store(op.d_state + (s * op.batch + r) * op.state_ld + unit, d_state[s]);
      }
      T* out = op.d_gates + i * op.gates_ld + unit;
      for (int g = 0; g < Cell::kGates; ++g) {
        store_n(out + L::place_of_input(g) * op.hidden, d_pre[g], n);
      }
      for (int g = 0; g < Cell::kSplit; ++g) {
        store_n(out + (Cell::kGates + g) * op.hidden, d_rec[g], n);
      }
    }
    op.norm_parts[i * panels + panel] = sum_lanes<double>(norm[0] + norm[1]);
  }
}

// Asks for what backward_epilogue will read: steps are taken backwards and rows lie far apart, which
// hardware does not foresee, while the product in between gives the memory time to answer.
template <class Cell, class T>
void prefetch_step(const LayerBackward<T>& op, int64_t rows, int64_t panel, int64_t prev_first,
                   int64_t first) {
  const int64_t unit = panel * kDenseWidth<T>;
  const auto fetch = [](const T* at) {
    for (int byte = 0; byte < kDenseSets * NORMRNN_VECTOR_BYTES; byte += 64) {
      __builtin_prefetch(reinterpret_cast<const char*>(at) + byte);
    }
  };
  for (int64_t i = 0; i < rows; ++i) {
    for (int s = 0; s < Cell::kStates; ++s) {
      fetch(op.state[s] + (prev_first + i) * op.state_ld + unit);
    }
    for (int j = 0; j < Cell::kTape; ++j) {
      fetch(op.tape + ((first + i) * Cell::kTape + j) * op.tape_ld + unit);
    }
    if (op.dy.data) {
      fetch(op.dy.data + (op.dy.slot ? op.dy.slot[first + i] : first + i) * op.dy.ld + unit);
    }
  }
}

// Steps run against the recursion; `before` below is the step after in time, done just before.
// Rows that only begin here (their sequence ends at this step) have no product; rows whose sequence
// began at the step before leave their product in d_state, as dL/d initial state.
template <class Cell, class T>
void layer_backward(const LayerBackward<T>& op, Worker& worker) {
  const int64_t panels = (op.hidden + kDenseWidth<T> - 1) / kDenseWidth<T>;
  const Clock clock{op.offset, op.times, op.reverse};
  const Share share = share_of(worker, op.row_begin, op.batch, panels);
  const int64_t depth = Cell::kGates * op.hidden;
  alignas(64) T tile[kDenseRows * kDenseWidth<T>];
  alignas(64) T zeros[kDenseWidth<T>] = {};

  for (int64_t step = op.times - 1; step >= -1; --step) {
    const int64_t now = clock.rows(step), before = clock.rows(step + 1);
    const Range parts[3] = {overlap(share.rows, {0, min_of(now, before)}),  // running
                            overlap(share.rows, {before, now}),             // beginning
                            overlap(share.rows, {now, before})};            // ending
    for (int64_t p = share.panels.begin; p < share.panels.end; ++p) {
      for (int part = 0; part < 3; ++part) {
        const auto [begin, end] = parts[part];
        const int64_t height = even_height(end - begin, kDenseRows);
        for (int64_t r = begin; r < end; r += height) {
          const int64_t rows = min_of(height, end - r);
          if (part != 2) {
            prefetch_step<Cell, T>(op, rows, p, step ? op.batch + clock.begin(step - 1) + r : r,
                                   clock.begin(step) + r);
          }
          Segment<T> product{};
          if (part != 1) {
            product = {
                op.d_gates + (clock.begin(step + 1) + r) * op.gates_ld + Cell::kSplit * op.hidden,
                op.gates_ld, depth, op.recurrent + p * depth * kDenseWidth<T>};
          }
          step_tile_of<T, kDenseRows, 1, 0, kDenseSets>(rows, zeros, nullptr, 0, product, tile);
          if (part == 2) {
            for (int64_t m = 0; m < rows; ++m) {
              for (int v = 0; v < kDenseSets; ++v) {
                const int64_t unit = p * kDenseWidth<T> + v * kLanes<T>;
                if (unit >= op.hidden) break;
                T* d_state = op.d_state + (r + m) * op.state_ld + unit;
                store(d_state, load(d_state) + load(tile + m * kDenseWidth<T> + v * kLanes<T>));
              }
            }
          } else {
            backward_epilogue<Cell, T>(op, tile, rows, p, panels, r, clock, step);
          }
          if (worker.cancelled(rows * depth * kDenseWidth<T>)) return;
        }
      }
    }
    if (!op.row_begin && !worker.barrier()) return;
  }
}

// Weights for the forward pass: panel by panel, for each k the gates in tile order.
template <class Cell, class T, bool kRecurrent>
void pack_gates(const T* w, int64_t ld, int64_t k, int64_t hidden, int64_t begin, int64_t end,
                T* packed) {
  using L = Layout<Cell>;
  constexpr int kPanel = L::template kPanel<T>;
  constexpr int kWidth = Cell::kGates * kPanel;
  for (int64_t p = begin; p < end; ++p) {
    for (int g = 0; g < Cell::kGates; ++g) {
      const int place = kRecurrent ? g : L::place_of_input(g);
      for (int u = 0; u < kPanel; ++u) {
        const int64_t unit = p * kPanel + u;
        T* out = packed + p * k * kWidth + place * kPanel + u;
        const T* row = w + (g * hidden + unit) * ld;
        for (int64_t i = 0; i < k; ++i) out[i * kWidth] = unit < hidden ? row[i] : T(0);
      }
    }
  }
}

// Where a tile starts from: the biases, those of split gates apart. Null biases count as 0.
template <class Cell, class T>
void pack_bias(const T* bias_ih, const T* bias_hh, int64_t hidden, T* packed) {
  using L = Layout<Cell>;
  constexpr int kPanel = L::template kPanel<T>;
  for (int64_t unit = 0; unit < (hidden + kPanel - 1) / kPanel * kPanel; ++unit) {
    T* out = packed + unit / kPanel * L::template kWidth<T> + unit % kPanel;
    for (int j = 0; j < L::kAll; ++j) out[j * kPanel] = T(0);
    if (unit >= hidden) continue;
    for (int g = 0; g < Cell::kGates; ++g) {
      if (bias_ih) out[L::place_of_input(g) * kPanel] += bias_ih[g * hidden + unit];
      if (bias_hh) out[L::place_of_recurrent(g) * kPanel] += bias_hh[g * hidden + unit];
    }
  }
}

}  // namespace normrnn::NORMRNN_TARGET
