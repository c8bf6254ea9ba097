// Memories of a simulated grid for the ports of cuda/plan/exchange.h, and what goes through them.
#pragma once

#include "cuda/plan/exchange.h"
#include "interleaver.h"

namespace normrnn::test {

namespace plan = cuda::plan;

// Values, and a note of which they are that the schedule knows nothing of: whoever takes a word
// checks it.
struct Word {
  double value[2] = {};
  int64_t step = -1, index = -1;
};

// Global memory as FlagPort sees it: a packet is stored and loaded at once, some time later.
struct FlagMemory {
  using Word = test::Word;
  Interleaver* grid;
  std::vector<plan::Packet<Word>>* cells;  // [slots * words]

  void begin() {}
  void store(int64_t place, plan::Packet<Word> packet) {
    plan::Packet<Word>* cell = &cells->at(size_t(place));
    grid->write(int64_t(reinterpret_cast<intptr_t>(cell)), [cell, packet] { *cell = packet; });
    grid->yield();
  }
  plan::Packet<Word> load(int64_t place) {
    grid->yield();
    return cells->at(size_t(place));
  }
  void pause() { grid->pause(); }
};

// The same with the flag in a place of its own: word and flag are two stores, which is wrong.
struct TornMemory : FlagMemory {
  std::vector<uint32_t>* flags;

  void store(int64_t place, plan::Packet<Word> packet) {
    plan::Packet<Word>* cell = &cells->at(size_t(place));
    uint32_t* flag = &flags->at(size_t(place));
    grid->write(int64_t(reinterpret_cast<intptr_t>(cell)), [=] { cell->word = packet.word; });
    grid->write(int64_t(reinterpret_cast<intptr_t>(flag)), [=] { *flag = packet.stamp; });
    grid->yield();
  }
  plan::Packet<Word> load(int64_t place) {
    grid->yield();
    return {cells->at(size_t(place)).word, flags->at(size_t(place))};
  }
};

// Shared memories of a cluster's blocks and its barrier.
struct Cluster {
  explicit Cluster(int blocks, int64_t places)
      : shared(size_t(blocks), std::vector<Word>(size_t(places))),
        running(size_t(blocks)),
        arrivals(size_t(blocks)),
        seen(size_t(blocks)) {}
  std::vector<std::vector<Word>> shared;
  std::vector<char> running;
  std::vector<int64_t> arrivals;  // of each block so far
  std::vector<int64_t> seen;      // barriers that each block has passed
  int64_t arrived = 0, completed = 0;
};

struct ClusterMemory {
  using Word = test::Word;
  Interleaver* grid;
  Cluster* cluster;
  int rank, first;      // of this block in the cluster, and of the cluster in the grid
  bool release = true;  // false: barrier.cluster.arrive.relaxed

  int64_t blocks() { return int64_t(cluster->shared.size()); }
  void store(int64_t block, int64_t place, Word word) {
    Word* cell = &cluster->shared.at(size_t(block)).at(size_t(place));
    Cluster* all = cluster;
    Interleaver* g = grid;
    g->write(int64_t(reinterpret_cast<intptr_t>(cell)), [=] {
      if (!all->running[size_t(block)]) {
        cell->step = -2;  // lost, as is a store to a block that has not begun or is gone
        return;
      }
      *cell = word;
    });
    if (!cluster->running[size_t(block)]) g->fail("store to a block that is not running");
    g->yield();
  }
  Word load(int64_t place) {
    grid->yield();
    return cluster->shared[size_t(rank)].at(size_t(place));
  }
  // The last to arrive completes the barrier, with all that was stored before each arrival.
  void arrive() {
    Cluster& c = *cluster;
    c.arrivals[size_t(rank)] = grid->writes();
    if (++c.arrived == blocks()) {
      c.arrived = 0;
      ++c.completed;
      for (int b = 0; release && b < int(blocks()); ++b) {
        grid->flush(first + b, c.arrivals[size_t(b)]);
      }
      grid->changed();
    }
    grid->yield();
  }
  void wait() {
    int64_t& seen = cluster->seen[size_t(rank)];
    while (cluster->completed <= seen) grid->pause();
    ++seen;
  }
};

}  // namespace normrnn::test
