// Which block owns which weights of W_hh, forwards and backwards.
//
// A group of blocks holds W_hh [G*H, H] once; groups share out the rows of the batch. A block owns
// whole units, a contiguous run of granules of them:
//
//   forward    the rows of all gates of its units; it needs h_{t-1} of all units (depth H) and
//              makes h_t of its own
//   backward   the columns of its units, that is rows of W^T; it needs d_rec_{t+1} of all gates and
//              units (depth G*H) and makes dL/dh_t, and through the cell d_rec_t, of its own
//
// The operand's depth is padded gate by gate to kDepthUnits, with zeros.
#pragma once

#include "cuda/plan/tiles.h"

namespace normrnn::cuda::plan {

constexpr int64_t kDepthUnits = 16;

enum class Pass { kForward, kBackward };

// A product with W_hh of every step of a pass.
struct Product {
  Pass pass;
  int gates;       // of the cell
  int64_t hidden;  // H

  NORMRNN_FN constexpr int row_gates() const { return pass == Pass::kForward ? gates : 1; }
  NORMRNN_FN constexpr int depth_gates() const { return pass == Pass::kForward ? 1 : gates; }
  NORMRNN_FN constexpr int64_t padded() const { return round_up(hidden, kDepthUnits); }
  NORMRNN_FN constexpr int64_t depth() const { return depth_gates() * padded(); }
  // Where value `gate` of `unit` is in the operand.
  NORMRNN_FN constexpr int64_t place(int gate, int64_t unit) const {
    return gate * padded() + unit;
  }
  // The weight that `row_gate` of the block's own `unit` takes with the operand's value at `place`:
  // its row and column in W_hh, row < 0 for padding.
  struct Weight {
    int64_t row, column;
  };
  NORMRNN_FN constexpr Weight weight(int row_gate, int64_t unit, int64_t place) const {
    const int64_t gate = place / padded(), other = place % padded();
    if (other >= hidden || unit >= hidden) return {-1, -1};
    return pass == Pass::kForward ? Weight{row_gate * hidden + unit, other}
                                  : Weight{gate * hidden + other, unit};
  }
};

struct Range {
  int64_t begin, end;
  NORMRNN_FN constexpr int64_t size() const { return end - begin; }
};

// Part `part` of `parts` of [0, count): sizes differ by one at most, none is negative.
NORMRNN_FN constexpr Range share(int64_t count, int64_t parts, int64_t part) {
  return {count * part / parts, count * (part + 1) / parts};
}

// A weight's place on the chip.
struct Home {
  int64_t block;
  int64_t granule;  // of the block's own
  int tile;         // of the granule
  int64_t step;     // tile_depth columns of the depth
  LaneWeight lane;
};

struct Slicing {
  Product product;
  Engine engine;
  int granule;     // units
  int64_t blocks;  // of a group

  NORMRNN_FN constexpr TileRows rows() const { return {engine, product.row_gates(), granule}; }
  NORMRNN_FN constexpr int64_t granules() const { return ceil_div(product.hidden, granule); }
  NORMRNN_FN constexpr int64_t depth_steps() const {
    return ceil_div(product.depth(), tile_depth(engine));
  }
  NORMRNN_FN constexpr Range granules_of(int64_t block) const {
    return share(granules(), blocks, block);
  }
  NORMRNN_FN constexpr int64_t most_granules() const { return ceil_div(granules(), blocks); }
  NORMRNN_FN constexpr Range units_of(int64_t block) const {
    const Range own = granules_of(block);
    const int64_t end = own.end * granule;
    return {own.begin * granule, end < product.hidden ? end : product.hidden};
  }
  NORMRNN_FN constexpr int64_t block_of_granule(int64_t g) const {
    // The last block whose first granule is not beyond g.
    return ((g + 1) * blocks - 1) / granules();
  }
  NORMRNN_FN constexpr int64_t block_of(int64_t unit) const {
    return block_of_granule(unit / granule);
  }
  NORMRNN_FN constexpr Home home(int64_t row, int64_t column) const {
    const int64_t gate = row / product.hidden, unit = row % product.hidden;
    const bool forward = product.pass == Pass::kForward;
    const int64_t own = forward ? unit : column;
    const int64_t place = forward ? column : product.place(int(gate), unit);
    const int64_t block = block_of(own);
    const TileRows::Place at = rows().place(forward ? int(gate) : 0, int(own % granule));
    const int k = tile_depth(engine);
    return {block, own / granule - granules_of(block).begin, at.tile, place / k,
            lane_of_weight(engine, {at.row, int(place % k)})};
  }
  // The other way round; row < 0 where padding is.
  NORMRNN_FN constexpr Product::Weight weight(const Home& at) const {
    const Fragment f = weight_of_lane(engine, at.lane.part, at.lane.lane, at.lane.value);
    if (engine == Engine::kFfma && f.row >= granule * product.row_gates()) return {-1, -1};
    const TileRows::Row r = rows().row(at.tile, f.row);
    if (r.gate < 0) return {-1, -1};
    const int64_t unit = (granules_of(at.block).begin + at.granule) * granule + r.unit;
    return product.weight(r.gate, unit, at.step * tile_depth(engine) + f.column);
  }
  // Bytes of the granules' weights, without rows of padding: registers and shared memory hold those
  // that exist, 8 rows at a time.
  NORMRNN_FN constexpr int64_t granule_step_bytes() const {
    return int64_t{granule} * product.row_gates() * tile_depth(engine) * weight_bytes(engine);
  }
};

}  // namespace normrnn::cuda::plan
