// The memories behind the ports of plan/exchange.h on a device of compute capability 9.0.
#pragma once

#include "cuda/plan/exchange.h"

namespace normrnn::cuda {

// Packets in global memory, that is in L2: a word and its step in 8 bytes, stored and loaded by one
// instruction, which makes them one access in PTX's memory model. Relaxed is enough, for nothing
// else is read on the strength of a packet but the packet itself.
struct GlobalFlags {
  using Word = uint32_t;
  uint64_t* packets;  // [FlagPort::places(words)], zeros before the launch
  unsigned polls = 0;

  // Some seconds of polling in vain for one step: the grid is not resident, or a block has died.
  static constexpr unsigned kMostPolls = 1u << 23;

  __device__ void begin() { polls = 0; }
  __device__ void store(int64_t place, plan::Packet<Word> packet) {
    const uint64_t both = uint64_t{packet.stamp} << 32 | packet.word;
    asm volatile("st.relaxed.gpu.global.b64 [%0], %1;" ::"l"(packets + place), "l"(both)
                 : "memory");
  }
  __device__ plan::Packet<Word> load(int64_t place) {
    uint64_t both;
    asm volatile("ld.relaxed.gpu.global.b64 %0, [%1];"
                 : "=l"(both)
                 : "l"(packets + place)
                 : "memory");
    return {uint32_t(both), uint32_t(both >> 32)};
  }
  __device__ void pause() {
    if (++polls > kMostPolls) __trap();
  }
};

// Words in the shared memory of every block of the cluster, and the cluster's hardware barrier.
// That has one phase under way at a time: for a group's rows in one chunk.
struct ClusterWords {
  using Word = uint32_t;
  uint32_t* shared;  // this block's own, [BarrierPort::places(words)], at one offset in all blocks
  uint32_t size;     // of the cluster

  __device__ int64_t blocks() { return size; }
  __device__ void store(int64_t block, int64_t place, Word word) {
    const uint32_t own = uint32_t(__cvta_generic_to_shared(shared + place));
    asm volatile(
        "{ .reg .b32 remote;\n"
        "  mapa.shared::cluster.u32 remote, %0, %1;\n"
        "  st.shared::cluster.u32 [remote], %2; }" ::"r"(own),
        "r"(uint32_t(block)), "r"(word)
        : "memory");
  }
  __device__ Word load(int64_t place) { return shared[place]; }
  __device__ void arrive() { asm volatile("barrier.cluster.arrive.release;" ::: "memory"); }
  __device__ void wait() { asm volatile("barrier.cluster.wait.acquire;" ::: "memory"); }
};

}  // namespace normrnn::cuda
