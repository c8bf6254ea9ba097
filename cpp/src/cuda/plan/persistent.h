// The schedule of a persistent kernel: what every block does at every step, and in which order.
//
// The same functions run in a kernel, where all threads of a block call them together, and in the
// tests, where simulated blocks take turns. Port is FlagPort or BarrierPort (exchange.h); Block is
//
//   int rank(), threads()            the calling thread, and how many call together
//   int outgoing(), incoming()       how many words it puts and takes at a step
//   int64_t outgoing_index(i), incoming_index(i)   where in a slot they are
//   Word word(i)                     an outgoing word;  void accept(i, Word)  an incoming one
//   void sync()                      all threads of the block (bar.sync)
//   void prefetch(t)                 asks for what cell(t) reads in memory: U x_t, or tape and dy_t
//   void initial()                   forward: the operand is h_0;  backward: the product is zero
//   void product()                   own rows of W_hh times the operand
//   void cell(t)                     the cell with the product; makes the words of step t
//   void keep(t)                     writes what step t leaves in memory: y and tape, or gradients
//   void finish()                    backward only: dL/dh_0 and dL/dc_0, from the last product
//
// On the critical path of a step lie await, gather, product, cell and send. Everything that only
// reads or writes the block's own memory comes between commit and await, while the words are on
// their way.
//
// The rows of the batch may be taken in chunks, each with a Block (rows, states, sums; the weights
// are common) and a Port (slots, barrier) of its own: recurrences that do not touch each other, so
// that the words of one chunk travel while the others are computed. All blocks of a group take the
// same chunks in the same order. The buffer that words are gathered into may be common, too: `sync`
// lies between one chunk's product and the next one's gather.
#pragma once

#include "cuda/plan/exchange.h"

namespace normrnn::cuda::plan {

// Words that a thread has under way at a time: their loads overlap, and so do their ways to L2.
constexpr int kFlight = 8;

template <class Block, class Port>
NORMRNN_FN void send(Block& block, Port& port, int64_t step) {
  for (int i = block.rank(); i < block.outgoing(); i += block.threads()) {
    port.put(step, block.outgoing_index(i), block.word(i));
  }
}

template <class Block, class Port>
NORMRNN_FN void gather(Block& block, Port& port, int64_t step) {
  using Word = typename Port::Word;
  if (block.outgoing() == 0) return;  // who puts nothing may not take: see exchange.h
  const int count = block.incoming(), stride = block.threads();
  for (int first = block.rank(); first < count; first += kFlight * stride) {
    Word word[kFlight];
    bool here[kFlight] = {};
    for (bool missing = true; missing;) {
      missing = false;
      NORMRNN_UNROLL
      for (int f = 0; f < kFlight; ++f) {
        const int i = first + f * stride;
        if (i >= count || here[f]) continue;
        here[f] = port.try_take(step, block.incoming_index(i), word[f]);
        missing = missing || !here[f];
      }
      if (missing) port.pause();
    }
    NORMRNN_UNROLL
    for (int f = 0; f < kFlight; ++f) {
      const int i = first + f * stride;
      if (i < count) block.accept(i, word[f]);
    }
  }
}

template <class Block, class Port>
NORMRNN_FN void forward_step(Block& block, Port& port, int64_t t, int64_t steps) {
  if (t == 1) {
    block.initial();
  } else {
    port.await(t - 1);
    gather(block, port, t - 1);
  }
  block.sync();
  block.product();
  block.cell(t);
  block.sync();
  if (t < steps) {
    send(block, port, t);
    port.commit(t);
  }
  block.keep(t);
  if (t < steps) block.prefetch(t + 1);
}

// t = 0 is the product that gives dL/dh_0, with no cell behind it.
template <class Block, class Port>
NORMRNN_FN void backward_step(Block& block, Port& port, int64_t t, int64_t steps) {
  if (t == steps) {
    block.initial();
  } else {
    port.await(steps - t);
    gather(block, port, steps - t);
    block.sync();
    block.product();
  }
  if (t == 0) {
    block.finish();
    return;
  }
  block.cell(t);
  block.sync();
  send(block, port, steps - t + 1);
  port.commit(steps - t + 1);
  block.keep(t);
  if (t > 1) block.prefetch(t - 1);
}

// Steps t = 1 … steps; the exchange of h_t has the number t. That of the last step is left out.
template <class Block, class Port, int kChunks>
NORMRNN_FN void run_forward(Block (&block)[kChunks], Port (&port)[kChunks], int64_t steps) {
  NORMRNN_UNROLL
  for (int c = 0; c < kChunks; ++c) {
    port[c].open();
    if (steps > 0) block[c].prefetch(1);
  }
  for (int64_t t = 1; t <= steps; ++t) {
    NORMRNN_UNROLL
    for (int c = 0; c < kChunks; ++c) forward_step(block[c], port[c], t, steps);
  }
}

// Steps t = steps … 1, and 0; the exchange of d_rec_t has the number steps - t + 1.
template <class Block, class Port, int kChunks>
NORMRNN_FN void run_backward(Block (&block)[kChunks], Port (&port)[kChunks], int64_t steps) {
  NORMRNN_UNROLL
  for (int c = 0; c < kChunks; ++c) {
    port[c].open();
    if (steps > 0) block[c].prefetch(steps);
  }
  for (int64_t t = steps; t >= 0; --t) {
    NORMRNN_UNROLL
    for (int c = 0; c < kChunks; ++c) backward_step(block[c], port[c], t, steps);
  }
}

}  // namespace normrnn::cuda::plan
