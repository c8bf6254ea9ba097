// Tiles of the product that a step is: which weight lies in which register of which lane.
//
// The stationary weights are the left operand, A, the batch is the right one with 8 columns a time:
// a tile is `height` rows of weights times `depth` columns, and takes 4 registers of every lane of
// a warp whatever the engine. Rows are in an order of our own, a granule of units at a time with
// their gates interleaved, so that one thread ends up with all gates of a unit:
//
//   granule == height       tile m holds gate m of all units (16 or 64 of them)
//   granule == height / 2   "paired": tile m holds gates 2m and 2m + 1, 8 rows of each in turn
//   FFMA                    one tile holds all gates: gate r / granule of unit r % granule
//
// A lane's sums in mma and wgmma are rows r and r + 8 of a tile, so both orders do it. The layouts
// of fragments are those of the PTX ISA, "Matrix Fragments for mma.m16n8k16" and ".m16n8k8"; wgmma
// has the same ones, with the four warps of a group one below the other.
#pragma once

#include <cstdint>

#include "fn.h"

namespace normrnn::cuda::plan {

enum class Engine {
  kMma,    // mma.m16n8k16, bfloat16 or float16
  kWgmma,  // wgmma.m64nNk16, the same types; for 64 rows of the batch and more
  kTf32,   // mma.m16n8k8, tf32; three of them for float32 (3xTF32)
  kFfma,   // float32 in the plain multipliers, one row a lane
};

constexpr int kLanesOfWarp = 32;
constexpr int kColumns = 8;        // of the batch that a tile takes at a time
constexpr int kTileRegisters = 4;  // of a lane, for a tile of weights of a warp

NORMRNN_FN constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
NORMRNN_FN constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

NORMRNN_FN constexpr int tile_height(Engine engine) {
  return engine == Engine::kWgmma ? 64 : engine == Engine::kFfma ? 32 : 16;
}
NORMRNN_FN constexpr int tile_depth(Engine engine) {
  return engine == Engine::kFfma ? 4 : engine == Engine::kTf32 ? 8 : 16;
}
NORMRNN_FN constexpr int weight_bytes(Engine engine) {
  return engine == Engine::kFfma || engine == Engine::kTf32 ? 4 : 2;
}
// Warps that share a tile, each with 16 of its rows.
NORMRNN_FN constexpr int tile_warps(Engine engine) { return engine == Engine::kWgmma ? 4 : 1; }
// Weights that a lane holds of a tile.
NORMRNN_FN constexpr int lane_weights(Engine engine) {
  return kTileRegisters * 4 / weight_bytes(engine);
}
// Sums that a lane holds of a tile and kColumns rows of the batch.
NORMRNN_FN constexpr int lane_sums(Engine engine) { return engine == Engine::kFfma ? 8 : 4; }

// Where in a tile a lane's weight is.
struct Fragment {
  int row, column;
};

// value < lane_weights(engine), part < tile_warps(engine).
NORMRNN_FN constexpr Fragment weight_of_lane(Engine engine, int part, int lane, int value) {
  if (engine == Engine::kFfma) return {lane, value};
  if (engine == Engine::kTf32) return {lane / 4 + 8 * (value % 2), lane % 4 + 4 * (value / 2)};
  const int pair = value / 2;
  return {16 * part + lane / 4 + 8 * (pair % 2), 2 * (lane % 4) + value % 2 + 8 * (pair / 2)};
}

struct LaneWeight {
  int part, lane, value;
};

NORMRNN_FN constexpr LaneWeight lane_of_weight(Engine engine, Fragment at) {
  if (engine == Engine::kFfma) return {0, at.row, at.column};
  const int part = at.row / 16, row = at.row % 16;
  if (engine == Engine::kTf32) {
    return {0, 4 * (row % 8) + at.column % 4, row / 8 + 2 * (at.column / 4)};
  }
  const int pair = row / 8 + 2 * (at.column / 8);
  return {part, 4 * (row % 8) + at.column % 8 / 2, 2 * pair + at.column % 2};
}

// Row of the tile and column of the batch of a lane's sum; value < lane_sums(engine).
NORMRNN_FN constexpr Fragment sum_of_lane(Engine engine, int part, int lane, int value) {
  if (engine == Engine::kFfma) return {lane, value};
  return {16 * part + lane / 4 + 8 * (value / 2), 2 * (lane % 4) + value % 2};
}

// Row of the operand's depth and column of the batch of the first value in a lane's 32-bit word of
// B; word < 2, and in 16 bits the next value is the next of the depth. A word is what the exchange
// carries.
NORMRNN_FN constexpr Fragment operand_of_lane(Engine engine, int lane, int word) {
  if (engine == Engine::kTf32) return {lane % 4 + 4 * word, lane / 4};
  return {2 * (lane % 4) + 8 * word, lane / 4};
}

// The rows of a granule: `gates` of every unit, in one or several tiles.
struct TileRows {
  Engine engine;
  int gates;    // rows of a unit
  int granule;  // units

  struct Row {
    int gate, unit;  // gate < 0: a row of padding
  };
  struct Place {
    int tile, row;
  };

  NORMRNN_FN constexpr bool paired() const {
    return engine != Engine::kFfma && 2 * granule == tile_height(engine);
  }
  NORMRNN_FN constexpr bool valid() const {
    if (engine == Engine::kFfma) return granule > 0 && granule * gates <= tile_height(engine);
    return paired() || granule == tile_height(engine);
  }
  NORMRNN_FN constexpr int tiles() const {
    return engine == Engine::kFfma ? 1 : paired() ? (gates + 1) / 2 : gates;
  }
  NORMRNN_FN constexpr Row row(int tile, int r) const {
    Row at{tile, r};
    if (engine == Engine::kFfma) at = {r / granule, r % granule};
    if (paired()) at = {2 * tile + r % 16 / 8, 8 * (r / 16) + r % 8};
    if (at.gate >= gates) at.gate = -1;
    return at;
  }
  NORMRNN_FN constexpr Place place(int gate, int unit) const {
    if (engine == Engine::kFfma) return {0, gate * granule + unit};
    if (!paired()) return {gate, unit};
    return {gate / 2, 16 * (unit / 8) + 8 * (gate % 2) + unit % 8};
  }
};

}  // namespace normrnn::cuda::plan
