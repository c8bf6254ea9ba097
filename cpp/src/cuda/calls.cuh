// The calls of the CUDA face for one type of number, NORMRNN_NUMBER: the general path and the
// update on CUDA queues. Compiled once for each, for nvcc takes its time.
#pragma once

#include <mutex>

#include "cuda/backward.h"
#include "cuda/cuda_queue.cuh"
#include "cuda/update.h"

namespace normrnn::cuda {
namespace {

// What every call has: its device the current one, its stream's state to itself, and a queue.
struct Call {
  explicit Call(const Stream& stream)
      : on(stream),
        state(StreamState::of(stream.device, on.handle)),
        lock(state->in_use),
        arena(std::make_shared<CudaArena>(state)),
        queue((cudaGetLastError(), arena)) {}  // errors that others left are not this call's

  OnStream on;
  std::shared_ptr<StreamState> state;
  std::lock_guard<std::mutex> lock;
  std::shared_ptr<CudaArena> arena;
  CudaQueue queue;
};

}  // namespace

template <class T>
class Tape {
 public:
  std::shared_ptr<CudaArena> arena;  // of all memory in the tape
  std::shared_ptr<device::Tape<T>> tape;
};

template <class T>
int64_t bytes_of(const Tape<T>& tape) {
  return device::bytes_of(*tape.tape);
}

template <class T>
std::shared_ptr<const Tape<T>> forward(const ForwardCall<T>& call, Precision precision,
                                       const Stream& stream) {
  Call own(stream);
  auto tape = device::forward(own.queue, call, precision);
  if (!tape) return nullptr;
  return std::make_shared<Tape<T>>(Tape<T>{own.arena, std::move(tape)});
}

template <class T>
void backward(const Tape<T>& tape, const BackwardCall<T>& call, T* penalty, const Stream& stream) {
  if (stream.device != tape.arena->state()->device()) {
    throw std::invalid_argument("stream: expected one of the tape's device, got another's");
  }
  Call own(stream);
  const bool elsewhere = tape.arena->state() != own.state;
  // The handle of another thread's own stream means this one's here: there is no waiting for that.
  if (elsewhere && tape.arena->state()->stream() == cudaStreamPerThread) {
    synchronize_device(stream.device);
  }
  struct MarkUse {  // however the call ends: what it has asked for by then is under way
    CudaArena* arena;
    cudaStream_t stream;
    ~MarkUse() {
      if (arena) arena->used_on(stream);
    }
  } const mark{elsewhere ? tape.arena.get() : nullptr, own.state->stream()};
  device::backward(own.queue, *tape.tape, call, penalty);
}

template <class T>
void update(const UpdateCall<T>& call, double* sums, const Stream& stream) {
  Call own(stream);
  device::update(own.queue, call, sums);
}

#define NORMRNN_INSTANTIATE(T)                                                       \
  template class Tape<T>;                                                            \
  template int64_t bytes_of(const Tape<T>&);                                         \
  template std::shared_ptr<const Tape<T>> forward(const ForwardCall<T>&, Precision,  \
                                                  const Stream&);                    \
  template void backward(const Tape<T>&, const BackwardCall<T>&, T*, const Stream&); \
  template void update(const UpdateCall<T>&, double*, const Stream&);
NORMRNN_INSTANTIATE(NORMRNN_NUMBER)
#undef NORMRNN_INSTANTIATE

}  // namespace normrnn::cuda
