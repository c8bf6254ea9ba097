// How the blocks of a group hand each other a step's values: ports, over whatever memory they
// share.
//
// A step's values are words in a slot, and steps take kSlots slots in turn. Two are enough, and one
// is not. A block puts its words of step s + 1 only after it has taken all words of step s. So when
// it has taken all words of step s + 1, every block has finished with step s, and it may overwrite
// that slot with step s + 2; it knows nothing of the kind about step s + 1 itself. That holds only
// if every block that takes also puts, at every step, and if a block's threads have all taken
// before any of them puts.
//
// FlagPort, over all SMs: a word travels with the number of its step in one packet, which is stored
// and loaded at once, so that whoever sees the number sees the word (Lamport's flags). Nothing else
// orders anything. Steps count from 1, and the memory is zeros when a launch begins. The blocks
// must all be resident at once (cooperative launch): they wait for each other.
//
// BarrierPort, within a cluster: words are stored into every block's own shared memory, and the
// cluster's barrier (arrive.release, wait.acquire) says that they are there.
//
// Memory of a FlagPort:    using Word;  void store(place, Packet<Word>);  Packet<Word> load(place);
//                          void begin();  (a step's words are taken next)  void pause();
// Memory of a BarrierPort: using Word;  void store(block, place, Word);  Word load(place);
//                          int64_t blocks();  void arrive();  void wait();
#pragma once

#include "cuda/plan/slicing.h"

namespace normrnn::cuda::plan {

template <class Word>
struct Packet {
  Word word;
  uint32_t stamp;
};

constexpr int kWordBytes = 4;  // of the device's words: two values of 16 bits or one of 32
constexpr int kPacketBytes = 8;

template <class Memory, int kSlots = 2>
class FlagPort {
 public:
  using Word = typename Memory::Word;
  NORMRNN_FN FlagPort(Memory memory, int64_t words) : memory_(memory), words_(words) {}

  NORMRNN_FN static constexpr int64_t places(int64_t words) { return kSlots * words; }
  NORMRNN_FN void open() {}
  NORMRNN_FN void put(int64_t step, int64_t index, Word word) {
    memory_.store(place(step, index), Packet<Word>{word, uint32_t(step)});
  }
  NORMRNN_FN void commit(int64_t) {}
  NORMRNN_FN void await(int64_t) { memory_.begin(); }
  NORMRNN_FN bool try_take(int64_t step, int64_t index, Word& word) {
    const Packet<Word> packet = memory_.load(place(step, index));
    word = packet.word;
    return packet.stamp == uint32_t(step);
  }
  NORMRNN_FN void pause() { memory_.pause(); }

 private:
  NORMRNN_FN int64_t place(int64_t step, int64_t index) const {
    return step % kSlots * words_ + index;
  }
  Memory memory_;
  int64_t words_;
};

template <class Memory, int kSlots = 2>
class BarrierPort {
 public:
  using Word = typename Memory::Word;
  NORMRNN_FN BarrierPort(Memory memory, int64_t words) : memory_(memory), words_(words) {}

  NORMRNN_FN static constexpr int64_t places(int64_t words) { return kSlots * words; }
  // Shared memory of another block may be written once that block is known to have begun.
  NORMRNN_FN void open() {
    memory_.arrive();
    memory_.wait();
  }
  NORMRNN_FN void put(int64_t step, int64_t index, Word word) {
    for (int64_t block = 0; block < memory_.blocks(); ++block) {
      memory_.store(block, place(step, index), word);
    }
  }
  NORMRNN_FN void commit(int64_t) { memory_.arrive(); }
  // No block stores anything after its last commit, so one that has waited for that may end.
  NORMRNN_FN void await(int64_t) { memory_.wait(); }
  NORMRNN_FN bool try_take(int64_t step, int64_t index, Word& word) {
    word = memory_.load(place(step, index));
    return true;
  }
  NORMRNN_FN void pause() {}

 private:
  NORMRNN_FN int64_t place(int64_t step, int64_t index) const {
    return step % kSlots * words_ + index;
  }
  Memory memory_;
  int64_t words_;
};

// The words of a range of units in a slot: a block's own, or, where the range is all units, those
// that it takes. A slot is the operand [rows, depth], `values` to a word. The range begins at a
// whole word; with odd H a gate's last word has one value of padding.
struct Words {
  Product product;
  Range units;
  int64_t rows;  // of the batch
  int values;    // of a word

  NORMRNN_FN constexpr int64_t slot() const { return rows * product.depth() / values; }
  NORMRNN_FN constexpr int64_t of_gate() const { return ceil_div(units.size(), values); }
  NORMRNN_FN constexpr int64_t count() const { return rows * product.depth_gates() * of_gate(); }
  // Row of the batch, and place in the depth of the first value, of word i of the range.
  struct At {
    int64_t row, place;
  };
  NORMRNN_FN constexpr At at(int64_t i) const {
    const int64_t run = i / of_gate();
    const int64_t gate = run % product.depth_gates();
    return {run / product.depth_gates(),
            product.place(int(gate), units.begin + i % of_gate() * values)};
  }
  NORMRNN_FN constexpr int64_t index(At word) const {
    return (word.row * product.depth() + word.place) / values;
  }
};

}  // namespace normrnn::cuda::plan
