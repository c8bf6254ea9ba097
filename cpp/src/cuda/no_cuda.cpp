// The CUDA face in builds without CUDA: the same symbols, and a clear error.
#include "normrnn/cuda.h"

namespace normrnn::cuda {
namespace {

[[noreturn]] void refuse() {
  throw Error(
      "device: expected 'cpu', for this normrnn was built without CUDA; build it with "
      "-DNORMRNN_CUDA=ON for NVIDIA GPUs");
}

}  // namespace

bool is_built() { return false; }
int device_count() { return 0; }
std::string device_name(int) { refuse(); }

template <class T>
class Tape {};

template <class T>
int64_t bytes_of(const Tape<T>&) {
  refuse();
}
template <class T>
std::shared_ptr<const Tape<T>> forward(const ForwardCall<T>&, Precision, const Stream&) {
  refuse();
}
template <class T>
void backward(const Tape<T>&, const BackwardCall<T>&, T*, const Stream&) {
  refuse();
}
template <class T>
void update(const UpdateCall<T>&, double*, const Stream&) {
  refuse();
}

#define NORMRNN_INSTANTIATE(T)                                                       \
  template class Tape<T>;                                                            \
  template int64_t bytes_of(const Tape<T>&);                                         \
  template std::shared_ptr<const Tape<T>> forward(const ForwardCall<T>&, Precision,  \
                                                  const Stream&);                    \
  template void backward(const Tape<T>&, const BackwardCall<T>&, T*, const Stream&); \
  template void update(const UpdateCall<T>&, double*, const Stream&);
NORMRNN_INSTANTIATE(float)
NORMRNN_INSTANTIATE(double)
#undef NORMRNN_INSTANTIATE

void* allocate(int64_t, const Stream&) { refuse(); }
void free(void*, const Stream&) { refuse(); }
void copy(void*, const void*, int64_t, const Stream&) { refuse(); }
void synchronize(const Stream&) { refuse(); }
void synchronize_device(int) { refuse(); }
void wait(const Stream&, const Stream&) { refuse(); }
int device_of(const void*) { refuse(); }
void release_memory(int) { refuse(); }
GraphCounts graph_counts() { return {}; }

}  // namespace normrnn::cuda
