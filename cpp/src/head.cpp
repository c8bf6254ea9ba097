// Output head: y = h W^T + b, and its gradients.
#include "sequence.h"

namespace normrnn {

template <class T>
void head_forward(const HeadShape& shape, const T* h, const T* w, const T* b, T* y, int threads) {
  const cpu::Kernels<T>& kernel = kernels<T>();
  const int64_t panels = panels_of(shape.outputs, kernel.panel_width);
  Buffer<T> packed(product(panels, kernel.panel_width, shape.inputs));
  parallel_for(threads, panels, product(shape.inputs, shape.outputs), [&](int64_t p) {
    kernel.pack_transposed(w, shape.inputs, shape.inputs, shape.outputs, p, p + 1, packed.get());
  });
  cpu::MatMul<T> op{};
  op.rows = shape.rows;
  op.columns = shape.outputs;
  op.segments = 1;
  op.segment[0] = {h, shape.inputs, shape.inputs, packed.get()};
  op.bias = b;
  op.c = {y, shape.outputs, nullptr};
  const int64_t work = shape.rows * shape.inputs * shape.outputs;
  run_parallel(workers_for(work, threads), [&](Worker& worker) { kernel.same.matmul(op, worker); });
}

template <class T>
void head_backward(const HeadShape& shape, const T* h, const T* w, const T* dy, T* dh, T* dw, T* db,
                   int threads) {
  const cpu::Kernels<T>& kernel = kernels<T>();
  const int64_t panels = panels_of(shape.inputs, kernel.panel_width);
  const cpu::ColumnBlock whole{0, 0, shape.outputs};
  Buffer<T> packed(product(panels, kernel.panel_width, shape.outputs));
  parallel_for(threads, panels, product(shape.inputs, shape.outputs), [&](int64_t p) {
    kernel.same.pack(w, shape.inputs, &whole, 1, shape.outputs, shape.inputs, p, p + 1,
                     packed.get());
  });
  cpu::MatMul<T> input{};
  input.rows = shape.rows;
  input.columns = shape.inputs;
  input.segments = 1;
  input.segment[0] = {dy, shape.outputs, shape.outputs, packed.get()};
  input.c = {dh, shape.inputs, nullptr};
  cpu::Outer<T> weight{};
  weight.rows = shape.rows;
  weight.a = dy;
  weight.a_ld = shape.outputs;
  weight.block[0] = whole;
  weight.blocks = 1;
  weight.b = h;
  weight.b_ld = shape.inputs;
  weight.columns = shape.inputs;
  weight.c = dw;
  weight.c_ld = shape.inputs;
  weight.sums = db;
  const int64_t work = shape.rows * shape.inputs * shape.outputs;
  const int workers = workers_for(work, threads);
  run_parallel(workers, [&](Worker& worker) { kernel.same.matmul(input, worker); });
  run_outer(kernel.same, &weight, 1, workers);
}

#define NORMRNN_INSTANTIATE(T)                                                         \
  template void head_forward(const HeadShape&, const T*, const T*, const T*, T*, int); \
  template void head_backward(const HeadShape&, const T*, const T*, const T*, T*, T*, T*, int);
NORMRNN_INSTANTIATE(float)
NORMRNN_INSTANTIATE(double)
#undef NORMRNN_INSTANTIATE

}  // namespace normrnn
