// The CUDA face of normrnn: the same forward pass, back-propagation through time and update, on
// arrays in the memory of one NVIDIA GPU.
//
// The calls are those of api.h, and so are shapes, names and results; arrays are pointers to device
// memory. What is read on the host, and may change as soon as a call returns: the structs
// themselves, ForwardCall::lengths, UpdateCall::group_strength. Not read: threads, bf16 (see
// Precision); packed must be null.
//
// Calls put work on the caller's stream and return: nothing waits for the device, and results are
// there for whatever comes next on that stream. So no result of the device can be thrown as an
// exception: see update. Memory that calls need is kept for the next ones, in a pool for each
// device. So a stream that is being captured (into the caller's own CUDA graph) is refused: what is
// replayed later would find memory that others use by then.
//
// Results are the same bits run after run, on the same kind of device.
//
// Throws std::invalid_argument; OutOfMemory; Error for what the driver or cuBLAS reports, with the
// name of the call or kernel. The library stays usable after any of these but an Error that the
// CUDA documentation calls sticky (a fault inside a kernel), which ends the process' use of the
// device. Built without CUDA, every function but is_built and device_count throws Error.
#pragma once

#include <new>
#include <stdexcept>

#include "normrnn/api.h"

namespace normrnn::cuda {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Says how much was needed and how much is free.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(const std::string& what) : what_(what) {}
  const char* what() const noexcept override { return what_.what(); }

 private:
  std::runtime_error what_;  // copies of it cannot throw
};

// A stream of the caller's: a cudaStream_t; null for the default stream. The device need not be the
// current one, which stays as it was.
struct Stream {
  int device = 0;
  void* handle = nullptr;
};

// What the operands of products with U and W are rounded to; float32 arrays only, float64 takes
// kFull. Sums, states, gates and gradients stay as the arrays are.
//   kFull      not at all: float32 means float32
//   kTf32      11 significant bits, range of float32: forwards, backwards, weights' gradients
//   kBfloat16  8 significant bits, range of float32, forwards and backwards; the weights' gradients
//              as in kTf32
//   kFloat16   11 significant bits, at most 65504, forwards; backwards as in kTf32, for gradients
//              soon leave float16's range
enum class Precision : int { kFull, kTf32, kBfloat16, kFloat16 };

bool is_built();
int device_count();  // 0 without a driver or without CUDA
std::string device_name(int device);

template <class T>
class Tape;
template <class T>
int64_t bytes_of(const Tape<T>& tape);  // of device memory that the tape owns

// Returns null without need_grad. Until the backward pass the weights must stay where they are and
// as they are: unlike on the CPU, a change is not noticed. Freed at any time, on any thread.
template <class T>
std::shared_ptr<const Tape<T>> forward(const ForwardCall<T>& call, Precision precision,
                                       const Stream& stream);

// penalty: a device scalar for the value of the state penalties. The stream may be another one than
// the forward pass had; the caller then sees to their order.
template <class T>
void backward(const Tape<T>& tape, const BackwardCall<T>& call, T* penalty, const Stream& stream);

// Where update puts what it found: sums[kUpdateSums], in device memory. The first six are those of
// UpdateResult.
enum UpdateSum : int {
  kPenalty,
  kGradNorm,
  kClippedNorm,
  kUpdateNorm,
  kParamNorm,
  kClipScale,
  // With check_finite, or any clipping: how many gradients are not finite. If there are any, no
  // weight and no slot has changed, kGradNorm is NaN, and the next three say which is the first;
  // without, they are -1, -1 and 0.
  kBadCount,
  kBadTensor,
  kBadIndex,
  kBadValue,
  kUpdateSums
};
template <class T>
void update(const UpdateCall<T>& call, double* sums, const Stream& stream);

// For whoever has arrays in host memory. All but synchronize are in the order of the stream. A copy
// has done with pageable host memory when it returns; with page-locked memory it may not have.
void* allocate(int64_t bytes, const Stream& stream);  // null for no bytes
void free(void* memory, const Stream& stream);
void copy(void* to, const void* from, int64_t bytes, const Stream& stream);  // either may be host
void synchronize(const Stream& stream);  // also throws what went wrong on it
void synchronize_device(int device);     // all of its streams
// What comes next on a stream waits for what another was given until now; the host does not.
void wait(const Stream& stream, const Stream& before);
int device_of(const void* memory);  // -1: not the memory of a device

// Of this process until now, on all devices. The loops over time are recorded as graphs, unless
// NORMRNN_CUDA_GRAPHS=0 is in the environment; what cannot be recorded is done call by call.
struct GraphCounts {
  int64_t launches = 0, failures = 0;  // of recorded graphs; to record one
};
GraphCounts graph_counts();

// Gives what the pool of a device keeps back to the driver.
void release_memory(int device);

}  // namespace normrnn::cuda
