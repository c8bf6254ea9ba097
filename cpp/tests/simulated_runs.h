// Runs of a pass on a simulated grid, with flags or in clusters, right or with something exchanged.
#pragma once

#include <string>
#include <type_traits>
#include <utility>

#include "simulated_block.h"

namespace normrnn::test {

using plan::Pass;

struct Setup {
  plan::Slicing slicing;
  int64_t groups = 1;
  int values = 1;     // of a word
  uint64_t seed = 0;  // of the order in which things happen
  int resident = 1 << 20;
};

// Calls f.operator()<Block>(), Block the simulated block of a kind and a pass.
template <class F>
std::string with_block(Kind kind, Pass pass, F&& f) {
  const auto with_cell = [&]<class Cell>(Cell) {
    return pass == Pass::kForward ? f.template operator()<ForwardBlock<Cell>>()
                                  : f.template operator()<BackwardBlock<Cell>>();
  };
  if (kind == Kind::kElman) return with_cell(simulated::Elman<simulated::Tanh>{});
  if (kind == Kind::kGru) return with_cell(simulated::Gru{});
  return with_cell(simulated::Lstm{});
}

struct Plainly {
  template <class Block, class Port, int kChunks>
  void operator()(Block (&block)[kChunks], Port (&port)[kChunks], int64_t steps) const {
    if constexpr (Block::kPass == Pass::kForward) {
      plan::run_forward(block, port, steps);
    } else {
      plan::run_backward(block, port, steps);
    }
  }
};

// What a block does with its chunks, of which f(c) makes block and port, as `act` says.
template <int kChunks, class Blocks, class Ports, class Act>
void act_on_chunks(Blocks&& blocks, Ports&& ports, int64_t steps, Act act) {
  [&]<int... c>(std::integer_sequence<int, c...>) {
    decltype(blocks(0)) block[] = {blocks(c)...};
    decltype(ports(0)) port[] = {ports(c)...};
    act(block, port, steps);
  }(std::make_integer_sequence<int, kChunks>{});
}

// The rows of the batch of chunk `c` of `chunks` of a group.
inline plan::Range rows_of(const Setup& setup, const PlainNetwork& net, int64_t group, int chunks,
                           int c) {
  const plan::Range rows = plan::share(net.batch, setup.groups, group);
  const plan::Range part = plan::share(rows.size(), chunks, c);
  return {rows.begin + part.begin, rows.begin + part.end};
}

inline int64_t words_of(const Setup& setup, plan::Range rows) {
  return rows.size() * setup.slicing.product.depth() / setup.values;
}

// A grid with flags: Port over FlagMemory, or over TornMemory; `act` runs a block.
template <class Block, template <class, int> class Port = plan::FlagPort, int kSlots = 2,
          bool kTorn = false, int kChunks = 1, class Act = Plainly>
std::string run_flags(const Setup& setup, const PlainNetwork& net, Results& results, Act act = {}) {
  using Memory = std::conditional_t<kTorn, TornMemory, FlagMemory>;
  Interleaver grid(setup.seed, setup.resident);
  const int64_t blocks = setup.slicing.blocks;
  std::vector<std::vector<plan::Packet<Word>>> cells;  // of each chunk of each group
  std::vector<std::vector<uint32_t>> flags;
  for (int64_t i = 0; i < setup.groups * kChunks; ++i) {
    const plan::Range rows = rows_of(setup, net, i / kChunks, kChunks, int(i % kChunks));
    cells.emplace_back(size_t(kSlots * words_of(setup, rows)), plan::Packet<Word>{{}, 0});
    flags.emplace_back(cells.back().size(), 0);
  }
  return grid.run(int(setup.groups * blocks), [&](int i) {
    const int64_t group = i / blocks;
    const auto rows = [&](int c) { return rows_of(setup, net, group, kChunks, c); };
    const auto block = [&](int c) {
      return Block(net, results, setup.slicing, i % blocks, rows(c), setup.values, grid);
    };
    const auto port = [&](int c) {
      const size_t at = size_t(group * kChunks + c);
      Memory memory;
      memory.grid = &grid;
      memory.cells = &cells[at];
      if constexpr (kTorn) memory.flags = &flags[at];
      return Port<Memory, kSlots>(memory, words_of(setup, rows(c)));
    };
    act_on_chunks<kChunks>(block, port, net.times, act);
  });
}

template <class Block, template <class, int> class Port = plan::BarrierPort, int kSlots = 2,
          bool kRelease = true, int kChunks = 1>
std::string run_cluster(const Setup& setup, const PlainNetwork& net, Results& results) {
  Interleaver grid(setup.seed, setup.resident);
  const int blocks = int(setup.slicing.blocks);
  std::vector<Cluster> clusters;  // of each chunk of each group
  for (int64_t i = 0; i < setup.groups * kChunks; ++i) {
    const plan::Range rows = rows_of(setup, net, i / kChunks, kChunks, int(i % kChunks));
    clusters.emplace_back(blocks, kSlots * words_of(setup, rows));
  }
  return grid.run(int(setup.groups) * blocks, [&](int i) {
    const int group = i / blocks, rank = i % blocks;
    const auto rows = [&](int c) { return rows_of(setup, net, group, kChunks, c); };
    const auto set_running = [&](char running) {
      for (int c = 0; c < kChunks; ++c) clusters[group * kChunks + c].running[rank] = running;
    };
    const auto block = [&](int c) {
      return Block(net, results, setup.slicing, rank, rows(c), setup.values, grid);
    };
    const auto port = [&](int c) {
      const ClusterMemory memory{&grid, &clusters[group * kChunks + c], rank, group * blocks,
                                 kRelease};
      return Port<ClusterMemory, kSlots>(memory, words_of(setup, rows(c)));
    };
    set_running(1);
    act_on_chunks<kChunks>(block, port, net.times, Plainly{});
    set_running(0);
  });
}

// A block of several threads, which share out its words; the rest is done by the first of them.
struct BlockBarrier {
  int64_t arrived = 0;  // in all
};

template <class Block>
struct OneThread {
  static constexpr Pass kPass = Block::kPass;
  Block& block;
  BlockBarrier& barrier;
  Interleaver& grid;
  int own_rank, all;
  int left_out;  // 0, 1: every other sync, from the first or second on, is left out; -1: none
  int64_t syncs = 0, waits = 0;

  int rank() const { return own_rank; }
  int threads() const { return all; }
  int outgoing() const { return block.outgoing(); }
  int incoming() const { return block.incoming(); }
  int64_t outgoing_index(int i) const { return block.outgoing_index(i); }
  int64_t incoming_index(int i) const { return block.incoming_index(i); }
  Word word(int i) const { return block.word(i); }
  void accept(int i, const Word& word) { block.accept(i, word); }
  void sync() {
    if (syncs++ % 2 == left_out) return;
    ++barrier.arrived;
    ++waits;
    grid.changed();
    while (barrier.arrived < waits * all) grid.pause();
  }
  template <class F>
  void first(F&& f) {
    if (own_rank == 0) f();
    grid.yield();
  }
  void prefetch(int64_t) {}
  void initial() {
    first([&] { block.initial(); });
  }
  void product() {
    first([&] { block.product(); });
  }
  void cell(int64_t t) {
    first([&] { block.cell(t); });
  }
  void keep(int64_t t) {
    first([&] { block.keep(t); });
  }
  void finish() {
    first([&] { block.finish(); });
  }
};

template <class Block>
std::string run_threads(const Setup& setup, const PlainNetwork& net, Results& results, int threads,
                        int left_out) {
  Interleaver grid(setup.seed, setup.resident);
  const int blocks = int(setup.slicing.blocks);
  const plan::Range rows{0, net.batch};
  std::vector<plan::Packet<Word>> cells(size_t(2 * words_of(setup, rows)),
                                        plan::Packet<Word>{{}, 0});
  std::vector<Block> all;
  for (int i = 0; i < blocks; ++i) {
    all.emplace_back(net, results, setup.slicing, i, rows, setup.values, grid);
  }
  std::vector<BlockBarrier> barriers(all.size());
  return grid.run(blocks * threads, [&](int i) {
    const size_t at = size_t(i / threads);
    OneThread<Block> thread[] = {{all[at], barriers[at], grid, i % threads, threads, left_out}};
    plan::FlagPort<FlagMemory> port[] = {{FlagMemory{&grid, &cells}, words_of(setup, rows)}};
    Plainly{}(thread, port, net.times);
  });
}

}  // namespace normrnn::test
