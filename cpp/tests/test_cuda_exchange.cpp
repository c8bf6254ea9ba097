// The persistent schedule on a simulated grid: blocks that hold their own slice and see only what
// was exchanged, in random order and with writes that become visible late. Right schedules give the
// plain network's results in float64; schedules broken on purpose must be found out.
#include "check.h"
#include "simulated_runs.h"

namespace normrnn::test {
namespace {

using plan::Engine;

constexpr Kind kKinds[] = {Kind::kElman, Kind::kGru, Kind::kLstm};

// "" or what is wrong with the results. In float64 only the order of sums differs from the plain
// network: 1e-16 a term, and weights of a norm that makes little more of it in these few steps.
std::string compare(const PlainNetwork& net, const Results& results, Pass pass) {
  const auto differ = [](const std::vector<double>& got, const std::vector<double>& expected,
                         int64_t from) {
    for (size_t i = size_t(from); i < expected.size(); ++i) {
      if (!(std::abs(got[i] - expected[i]) <= 1e-12 * (1 + std::abs(expected[i])))) return true;
    }
    return false;
  };
  const bool lstm = net.kind == Kind::kLstm;
  const int64_t initial = net.batch * net.hidden;
  if (pass == Pass::kForward) {
    if (differ(results.h, net.h, initial)) return "h differs";
    if (lstm && differ(results.c, net.c, initial)) return "c differs";
    return differ(results.tape, net.tape, 0) ? "tape differs" : "";
  }
  if (differ(results.d_pre, net.d_pre, 0) || differ(results.d_rec, net.d_rec, 0)) {
    return "d_gates differ";
  }
  if (differ(results.dh_0, net.dh_0, 0)) return "dh_0 differs";
  return lstm && differ(results.dc_0, net.dc_0, 0) ? "dc_0 differs" : "";
}

plan::Slicing slice(const PlainNetwork& net, Pass pass, Engine engine, int granule,
                    int64_t blocks) {
  const plan::Slicing slicing{{pass, net.gates, net.hidden}, engine, granule, blocks};
  CHECK(slicing.rows().valid());
  return slicing;
}

void expect_right(const Setup& setup, const PlainNetwork& net) {
  const Pass pass = setup.slicing.product.pass;
  for (const int way : {0, 1, 2, 3}) {
    const bool cluster = way % 2, chunks = way / 2;
    if (chunks && net.hidden > 100) continue;  // switching between so many blocks takes its time
    Results results(net);
    std::string error = with_block(net.kind, pass, [&]<class Block>() {
      if (chunks) {
        return cluster ? run_cluster<Block, plan::BarrierPort, 2, true, 3>(setup, net, results)
                       : run_flags<Block, plan::FlagPort, 2, false, 2>(setup, net, results);
      }
      return cluster ? run_cluster<Block>(setup, net, results)
                     : run_flags<Block>(setup, net, results);
    });
    if (error.empty()) error = compare(net, results, pass);
    if (!error.empty()) {
      std::printf("%s%s, cell %d, pass %d, T %d B %d H %d, %d x %d blocks, seed %llu: %s\n",
                  cluster ? "cluster" : "flags", chunks ? " in chunks" : "", int(net.kind),
                  int(pass), int(net.times), int(net.batch), int(net.hidden), int(setup.groups),
                  int(setup.slicing.blocks), static_cast<unsigned long long>(setup.seed),
                  error.c_str());
      ++failures;
    }
  }
}

void check_schedules() {
  std::mt19937_64 rng(1);
  struct Case {
    int64_t times, batch, hidden, blocks, groups;
    Engine engine;
    int granule, values, seeds;
  };
  const Case cases[] = {
      {6, 5, 33, 5, 1, Engine::kMma, 8, 1, 3},    {5, 5, 33, 5, 2, Engine::kMma, 8, 2, 3},
      {7, 1, 1, 1, 1, Engine::kMma, 8, 2, 2},     {5, 2, 1, 3, 1, Engine::kMma, 16, 1, 3},
      {1, 3, 20, 3, 1, Engine::kMma, 8, 1, 2},    {2, 3, 20, 3, 1, Engine::kTf32, 16, 1, 3},
      {4, 33, 12, 2, 3, Engine::kFfma, 2, 1, 2},  {9, 2, 21, 11, 1, Engine::kFfma, 2, 2, 4},
      {3, 3, 70, 3, 1, Engine::kWgmma, 32, 2, 2}, {40, 1, 6, 3, 1, Engine::kFfma, 2, 1, 3},
      {3, 1, 200, 25, 1, Engine::kMma, 8, 2, 1},  {3, 1, 131, 132, 1, Engine::kFfma, 1, 1, 1},
  };
  for (const Case& at : cases) {
    for (const Kind kind : kKinds) {
      const PlainNetwork net(kind, at.times, at.batch, at.hidden, rng);
      for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
        const plan::Slicing slicing = slice(net, pass, at.engine, at.granule, at.blocks);
        for (int s = 0; s < at.seeds; ++s) {
          expect_right({slicing, at.groups, at.values, rng()}, net);
        }
      }
    }
  }
}

// Schedules that are wrong ------------------------------------------------------------------------

// A flag that is not looked at.
template <class Memory, int kSlots>
struct BlindPort : plan::FlagPort<Memory, kSlots> {
  using plan::FlagPort<Memory, kSlots>::FlagPort;
  bool try_take(int64_t step, int64_t index, Word& word) {
    plan::FlagPort<Memory, kSlots>::try_take(step, index, word);
    return true;
  }
};

// Any later step's word is taken for this one's.
template <class Memory, int kSlots>
struct EagerPort : plan::FlagPort<Memory, kSlots> {
  EagerPort(Memory memory, int64_t words)
      : plan::FlagPort<Memory, kSlots>(memory, words), own(memory), count(words) {}
  bool try_take(int64_t step, int64_t index, Word& word) {
    const plan::Packet<Word> packet = own.load(step % kSlots * count + index);
    word = packet.word;
    return packet.stamp >= uint32_t(step);
  }
  Memory own;
  int64_t count;
};

// No barrier at the start, and none at a step.
template <class Memory, int kSlots>
struct UnopenedPort : plan::BarrierPort<Memory, kSlots> {
  using plan::BarrierPort<Memory, kSlots>::BarrierPort;
  void open() {}
};
template <class Memory, int kSlots>
struct UnawaitedPort : plan::BarrierPort<Memory, kSlots> {
  using plan::BarrierPort<Memory, kSlots>::BarrierPort;
  void commit(int64_t) {}
  void await(int64_t) {}
};

// One block takes everything and puts nothing, behind the others' backs: nobody waits for it.
struct SilentReader {
  template <class Block, class Port>
  void operator()(Block (&blocks)[1], Port (&ports)[1], int64_t steps) const {
    Block& block = blocks[0];
    Port& port = ports[0];
    if (block.outgoing() > 0) return Plainly{}(blocks, ports, steps);
    for (int64_t step = 1; step < steps; ++step) {
      block.expect(step);
      for (int i = 0; i < block.incoming(); ++i) {
        Word word;
        while (!port.try_take(step, block.incoming_index(i), word)) port.pause();
        block.accept(i, word);
      }
    }
  }
};

// One block leaves out its words of a step.
template <class Port>
struct Forgetting {
  using Word = test::Word;
  Port& port;
  bool forgets;
  void open() { port.open(); }
  void put(int64_t step, int64_t index, Word word) {
    if (!forgets || step != 2) port.put(step, index, word);
  }
  void commit(int64_t step) { port.commit(step); }
  void await(int64_t step) { port.await(step); }
  bool try_take(int64_t step, int64_t index, Word& word) {
    return port.try_take(step, index, word);
  }
  void pause() { port.pause(); }
};
struct Forgetful {
  template <class Block, class Port>
  void operator()(Block (&block)[1], Port (&port)[1], int64_t steps) const {
    Forgetting<Port> forgetting[] = {{port[0], block[0].first_unit() == 0}};
    Plainly{}(block, forgetting, steps);
  }
};

// Of `seeds` runs, how many went wrong with an error that begins with `what` ("" for any); a run
// that ends without an error goes wrong if its results do.
template <class F>
int found_out(const PlainNetwork& net, Pass pass, int seeds, const char* what, F&& run) {
  int found = 0;
  for (int seed = 0; seed < seeds; ++seed) {
    Results results(net);
    std::string error = run(uint64_t(seed), results);
    if (error.empty()) error = compare(net, results, pass);
    found += !error.empty() && error.rfind(what, 0) == 0;
  }
  return found;
}

constexpr int kSeeds = 8;

void check_broken() {
  std::mt19937_64 rng(2);
  for (const Kind kind : kKinds) {
    const PlainNetwork net(kind, 8, 2, 24, rng);
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      Setup setup{slice(net, pass, Engine::kMma, 8, 3)};
      const auto found = [&](const char* what, auto&& run, int seeds = kSeeds) {
        return found_out(net, pass, seeds, what, [&](uint64_t seed, Results& results) {
          setup.seed = seed;
          return with_block(kind, pass, [&]<class Block>() -> std::string {
            return run.template operator()<Block>(setup, results);
          });
        });
      };
      // Flags, with two slots and a third for good measure: never.
      CHECK(found("", [&]<class B>(const Setup& s, Results& r) {
              return run_flags<B>(s, net, r);
            }) == 0);
      CHECK(found("", [&]<class B>(const Setup& s, Results& r) {
              return run_flags<B, plan::FlagPort, 3>(s, net, r);
            }) == 0);
      // One slot: a word is gone before everybody has seen it, and its reader waits for ever; a
      // reader that takes later words instead races.
      CHECK(found("dead-lock", [&]<class B>(const Setup& s, Results& r) {
              return run_flags<B, plan::FlagPort, 1>(s, net, r);
            }) == kSeeds);
      CHECK(found("race", [&]<class B>(const Setup& s, Results& r) {
              return run_flags<B, EagerPort, 1>(s, net, r);
            }) == kSeeds);
      CHECK(found("race", [&]<class B>(const Setup& s, Results& r) {
              return run_flags<B, BlindPort>(s, net, r);
            }) == kSeeds);
      CHECK(found("race", [&]<class B>(const Setup& s, Results& r) {
              return run_flags<B, plan::FlagPort, 2, true>(s, net, r);
            }) == kSeeds);
      CHECK(found("dead-lock", [&]<class B>(const Setup& s, Results& r) {
              return run_flags<B, plan::FlagPort, 2, false, 1, Forgetful>(s, net, r);
            }) == kSeeds);
      // The cluster's barrier.
      CHECK(found("", [&]<class B>(const Setup& s, Results& r) {
              return run_cluster<B>(s, net, r);
            }) == 0);
      CHECK(found("race", [&]<class B>(const Setup& s, Results& r) {
              return run_cluster<B, plan::BarrierPort, 1>(s, net, r);
            }) == kSeeds);
      CHECK(found("race", [&]<class B>(const Setup& s, Results& r) {
              return run_cluster<B, plan::BarrierPort, 2, false>(s, net, r);
            }) == kSeeds);
      CHECK(found("race", [&]<class B>(const Setup& s, Results& r) {
              return run_cluster<B, UnawaitedPort>(s, net, r);
            }) == kSeeds);
      CHECK(found("store to a block", [&]<class B>(const Setup& s, Results& r) {
              return run_cluster<B, UnopenedPort>(s, net, r);
            }) > 0);
      // The threads of a block, with both of its barriers in a step and without one or the other.
      const auto threads = [&](int left_out) {
        return found("", [&]<class B>(const Setup& s, Results& r) {
          return run_threads<B>(s, net, r, 3, left_out);
        });
      };
      CHECK(threads(-1) == 0);
      CHECK(threads(0) == kSeeds);
      CHECK(threads(1) == kSeeds);
      // Fewer blocks on the device than wait for each other.
      setup.resident = 2;
      CHECK(found("dead-lock", [&]<class B>(const Setup& s, Results& r) {
              return run_flags<B>(s, net, r);
            }) == kSeeds);
      setup.resident = 1 << 20;
      // More blocks than granules: the one without units takes nothing, and must not.
      setup.slicing.blocks = 4;
      CHECK(setup.slicing.units_of(0).size() == 0);
      CHECK(found("", [&]<class B>(const Setup& s, Results& r) {
              return run_flags<B>(s, net, r);
            }) == 0);
      CHECK(found(
                "",
                [&]<class B>(const Setup& s, Results& r) {
                  return run_flags<B, plan::FlagPort, 2, false, 1, SilentReader>(s, net, r);
                },
                5 * kSeeds) > 0);
    }
  }
}

void tests() {
  check_schedules();
  check_broken();
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
