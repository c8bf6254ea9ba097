// The slicing of the persistent CUDA path: every weight has one home, tiles cover odd sizes, and
// words cover an operand.
#include "check.h"
#include "cuda/plan/budget.h"

namespace normrnn::test {
namespace {

using namespace cuda::plan;

constexpr Engine kEngines[] = {Engine::kMma, Engine::kWgmma, Engine::kTf32, Engine::kFfma};

// A lane's registers, from the PTX ISA's tables, at places where a mistake would show.
void check_fragments() {
  const auto is = [](Fragment got, int row, int column) {
    return got.row == row && got.column == column;
  };
  CHECK(is(weight_of_lane(Engine::kMma, 0, 0, 0), 0, 0));
  CHECK(is(weight_of_lane(Engine::kMma, 0, 0, 2), 8, 0));  // a2, a3: eight rows below
  CHECK(is(weight_of_lane(Engine::kMma, 0, 0, 4), 0, 8));  // a4, a5: eight columns on
  CHECK(is(weight_of_lane(Engine::kMma, 0, 31, 7), 15, 15));
  CHECK(is(weight_of_lane(Engine::kWgmma, 3, 31, 7), 63, 15));
  CHECK(is(weight_of_lane(Engine::kTf32, 0, 5, 1), 9, 1));  // a1: eight rows below
  CHECK(is(weight_of_lane(Engine::kTf32, 0, 5, 2), 1, 5));  // a2: four columns on
  CHECK(is(sum_of_lane(Engine::kMma, 0, 6, 1), 1, 5));
  CHECK(is(sum_of_lane(Engine::kMma, 0, 6, 2), 9, 4));
  CHECK(is(operand_of_lane(Engine::kMma, 6, 1), 12, 1));
  CHECK(is(operand_of_lane(Engine::kTf32, 6, 1), 6, 1));
  for (const Engine engine : kEngines) {
    CHECK(lane_weights(engine) * weight_bytes(engine) == 4 * kTileRegisters);
    std::vector<int> seen(size_t(tile_height(engine) * tile_depth(engine)));
    std::vector<int> sums(size_t(tile_height(engine) * kColumns));
    for (int part = 0; part < tile_warps(engine); ++part) {
      for (int lane = 0; lane < kLanesOfWarp; ++lane) {
        for (int v = 0; v < lane_weights(engine); ++v) {
          const Fragment f = weight_of_lane(engine, part, lane, v);
          ++seen[size_t(f.row * tile_depth(engine) + f.column)];
          const LaneWeight back = lane_of_weight(engine, f);
          CHECK(back.part == part && back.lane == lane && back.value == v);
        }
        for (int v = 0; v < lane_sums(engine); ++v) {
          const Fragment f = sum_of_lane(engine, part, lane, v);
          ++sums[size_t(f.row * kColumns + f.column)];
        }
      }
    }
    for (const int count : seen) CHECK(count == 1);
    for (const int count : sums) CHECK(count == 1);
    if (engine == Engine::kFfma) continue;  // its operand is read by all lanes alike
    const int values = 4 / weight_bytes(engine);
    std::vector<int> operand(size_t(tile_depth(engine) * kColumns));
    for (int lane = 0; lane < kLanesOfWarp; ++lane) {
      for (int word = 0; word < 2; ++word) {
        const Fragment f = operand_of_lane(engine, lane, word);
        for (int v = 0; v < values; ++v) ++operand[size_t((f.row + v) * kColumns + f.column)];
      }
    }
    for (const int count : operand) CHECK(count == 1);
  }
}

// All gates of a unit are in one lane's sums, in mma and wgmma.
void check_gates_together() {
  for (const Engine engine : {Engine::kMma, Engine::kWgmma, Engine::kTf32}) {
    for (const int gates : {1, 3, 4}) {
      for (const int granule : granules_of(engine, gates).size) {
        if (granule == 0) continue;
        const TileRows rows{engine, gates, granule};
        CHECK(rows.valid());
        int found = 0;
        for (int part = 0; part < tile_warps(engine); ++part) {
          for (int lane = 0; lane < kLanesOfWarp; ++lane) {
            std::vector<int> of_unit(size_t(granule * kColumns));
            for (int tile = 0; tile < rows.tiles(); ++tile) {
              for (int v = 0; v < lane_sums(engine); ++v) {
                const Fragment f = sum_of_lane(engine, part, lane, v);
                const TileRows::Row row = rows.row(tile, f.row);
                if (row.gate >= 0) ++of_unit[size_t(row.unit * kColumns + f.column)];
              }
            }
            for (const int count : of_unit) {
              CHECK(count == 0 || count == gates);
              found += count;
            }
          }
        }
        CHECK(found == gates * granule * kColumns);
      }
    }
  }
}

// Every weight has one home and every home one weight or padding.
void check_homes(const Slicing& s, bool whole) {
  const Product& p = s.product;
  CHECK(s.rows().valid());
  int64_t units = 0, granules = 0;
  for (int64_t block = 0; block < s.blocks; ++block) {
    const Range own = s.units_of(block);
    units += own.size();
    granules += s.granules_of(block).size();
    CHECK(s.granules_of(block).size() <= s.most_granules());
    for (int64_t unit = own.begin; unit < own.end; ++unit) CHECK(s.block_of(unit) == block);
  }
  CHECK(units == p.hidden && granules == s.granules());
  // Forwards, to a weight's home and back; of large matrices some rows.
  const int64_t stride = whole ? 1 : 97;
  for (int64_t row = 0; row < p.gates * p.hidden; row += stride) {
    for (int64_t column = 0; column < p.hidden; ++column) {
      const Home home = s.home(row, column);
      const Product::Weight back = s.weight(home);
      if (back.row == row && back.column == column && home.block < s.blocks &&
          home.granule < s.granules_of(home.block).size() && home.step < s.depth_steps()) {
        continue;
      }
      std::printf("H %d, row %d, column %d: not found at its home\n", int(p.hidden), int(row),
                  int(column));
      ++failures;
      return;
    }
  }
  if (!whole) return;
  // And over all registers of all lanes.
  std::vector<char> owners(size_t(p.gates * p.hidden * p.hidden));
  for (int64_t block = 0; block < s.blocks; ++block) {
    for (int64_t g = 0; g < s.granules_of(block).size(); ++g) {
      for (int tile = 0; tile < s.rows().tiles(); ++tile) {
        for (int64_t step = 0; step < s.depth_steps(); ++step) {
          for (int part = 0; part < tile_warps(s.engine); ++part) {
            for (int lane = 0; lane < kLanesOfWarp; ++lane) {
              for (int v = 0; v < lane_weights(s.engine); ++v) {
                const auto at = s.weight({block, g, tile, step, {part, lane, v}});
                if (at.row >= 0) ++owners[size_t(at.row * p.hidden + at.column)];
              }
            }
          }
        }
      }
    }
  }
  for (const char count : owners) {
    if (count == 1) continue;
    std::printf("H %d: a weight has %d owners\n", int(p.hidden), count);
    ++failures;
    return;
  }
}

void check_slicing() {
  for (const int64_t hidden : {1, 33, 200, 1000}) {
    for (const int gates : {1, 3, 4}) {
      for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
        for (const Engine engine : kEngines) {
          const int row_gates = pass == Pass::kForward ? gates : 1;
          for (const int granule : granules_of(engine, row_gates).size) {
            for (const int64_t blocks : {1, 8, 25, 132}) {
              if (granule == 0) continue;
              check_homes({{pass, gates, hidden}, engine, granule, blocks},
                          hidden <= 33 || (hidden == 200 && blocks == 25));
            }
          }
        }
      }
    }
  }
  check_homes({{Pass::kForward, 4, 1000}, Engine::kMma, 8, 63}, true);
}

// Words cover all of a slot's values once, of one block after another.
void check_words() {
  for (const int64_t hidden : {1, 33, 200}) {
    for (const int64_t rows : {1, 5, 33}) {
      for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
        const Slicing s{{pass, 3, hidden}, Engine::kMma, 8, 7};
        for (const int values : {1, 2}) {
          const Words all{s.product, {0, hidden}, rows, values};
          std::vector<int> put(size_t(all.slot())), taken(put);
          for (int64_t block = 0; block < s.blocks; ++block) {
            const Words own{s.product, s.units_of(block), rows, values};
            for (int64_t i = 0; i < own.count(); ++i) ++put[size_t(own.index(own.at(i)))];
          }
          for (int64_t i = 0; i < all.count(); ++i) ++taken[size_t(all.index(all.at(i)))];
          CHECK(put == taken);
          int64_t covered = 0;
          for (const int count : taken) {
            CHECK(count <= 1);
            covered += count;
          }
          CHECK(covered == rows * s.product.depth_gates() * ceil_div(hidden, values));
        }
      }
    }
  }
}

void tests() {
  check_fragments();
  check_gates_together();
  check_slicing();
  check_words();
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
