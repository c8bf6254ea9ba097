// The queue on a CUDA stream: see queue.h for what it promises.
#pragma once

#include <algorithm>

#include "cuda/kernels.cuh"
#include "cuda/workspace.h"

namespace normrnn::cuda {

using device::Operand;
using device::Product;

class CudaQueue {
 public:
  explicit CudaQueue(std::shared_ptr<CudaArena> arena)
      : arena_(std::move(arena)), state_(arena_->state().get()), lane_(state_->lane(0)) {}

  template <class F>
  void each(const char* name, int64_t rows, int64_t columns, F f) {
    if (rows == 0 || columns == 0) return;
    unsigned width = 1;
    while (width < kThreads && width < columns) width *= 2;
    const dim3 block(width, kThreads / width);
    const dim3 grid(blocks(columns, width), std::min(blocks(rows, block.y), unsigned(kMostRows)));
    each_kernel<<<grid, block, 0, lane_.stream>>>(f, rows, columns);
    launched(name);
  }

  template <class Program>
  void groups(const char* name, int64_t rows, int64_t tiles, Program program) {
    if (rows == 0 || tiles == 0) return;
    const unsigned together = kThreads / Program::kLanes;
    unsigned across = 1;
    while (across < together && across < tiles) across *= 2;
    const dim3 block(Program::kLanes, together);
    const dim3 grid(blocks(tiles, across),
                    std::min(blocks(rows, together / across), unsigned(kMostRows)));
    groups_kernel<<<grid, block, 0, lane_.stream>>>(program, rows, tiles, int(across));
    launched(name);
  }

  // cuBLAS has matrices by columns: what it takes for the transposed ones are ours.
  template <class T>
  void multiply(const Product<T>& p) {
    if (p.m == 0 || p.n == 0) return;
    if (p.k == 0) {  // sums of nothing
      if (p.add) return;
      check(cudaMemset2DAsync(p.c, size_t(p.ldc) * sizeof(T), 0, size_t(p.n) * sizeof(T),
                              size_t(p.m), lane_.stream),
            "cudaMemset2DAsync", p.name);
      return;
    }
    const T one = 1, start = p.add ? 1 : 0;
    cudaDataType_t operand = sizeof(T) == 8 ? CUDA_R_64F : CUDA_R_32F;
    if (p.operand == Operand::kBfloat16) operand = CUDA_R_16BF;
    if (p.operand == Operand::kFloat16) operand = CUDA_R_16F;
    cublasComputeType_t sums = sizeof(T) == 8 ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F;
    if (p.operand == Operand::kTf32) sums = CUBLAS_COMPUTE_32F_FAST_TF32;
    const auto turned = [](bool transposed) { return transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
    check(
        cublasGemmEx_64(lane_.blas, turned(p.b_transposed), turned(p.a_transposed), p.n, p.m, p.k,
                        &one, p.b, operand, p.ldb, p.a, operand, p.lda, &start, p.c,
                        sizeof(T) == 8 ? CUDA_R_64F : CUDA_R_32F, p.ldc, sums, CUBLAS_GEMM_DEFAULT),
        p.name);
  }

  template <class T>
  void zero(T* to, int64_t count) {
    if (count == 0) return;
    check(cudaMemsetAsync(to, 0, size_t(count) * sizeof(T), lane_.stream), "cudaMemsetAsync");
  }

  template <class T>
  void copy(T* to, const T* from, int64_t count) {
    if (count == 0) return;
    check(cudaMemcpyAsync(to, from, size_t(count) * sizeof(T), cudaMemcpyDeviceToDevice,
                          lane_.stream),
          "cudaMemcpyAsync");
  }

  template <class T>
  void upload(T* to, const T* from, int64_t count) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(from);
    auto* out = reinterpret_cast<unsigned char*>(to);
    const int64_t all = count * int64_t(sizeof(T));
    Payload payload;
    for (int64_t i = 0; i < all; i += Payload::kBytes) {
      const int64_t part = std::min(Payload::kBytes, all - i);
      std::memcpy(payload.bytes, bytes + i, size_t(part));
      upload_kernel<<<1, kThreads, 0, lane_.stream>>>(payload, out + i, int(part));
      launched("upload");
    }
  }

  std::shared_ptr<device::Arena> arena() { return arena_; }

  template <class Body>
  void side_by_side(int count, Body&& body) {
    if (count == 1) return body(0, *this);
    CudaQueue other(*this);
    other.lane_ = recording_ ? state_->recorder(1) : state_->lane(1);
    const cudaEvent_t fork = state_->event(recording_ ? 2 : 0);
    const cudaEvent_t join = state_->event(recording_ ? 3 : 1);
    check(cudaEventRecord(fork, lane_.stream), "cudaEventRecord");
    check(cudaStreamWaitEvent(other.lane_.stream, fork), "cudaStreamWaitEvent");
    try {
      for (int i = 0; i < count; ++i) body(i, i % 2 ? other : *this);
    } catch (...) {
      // What has been asked for uses memory that is about to go back: this lane waits for it, too.
      if (cudaEventRecord(join, other.lane_.stream) == cudaSuccess) {
        cudaStreamWaitEvent(lane_.stream, join);
      }
      cudaGetLastError();
      throw;
    }
    check(cudaEventRecord(join, other.lane_.stream), "cudaEventRecord");
    check(cudaStreamWaitEvent(lane_.stream, join), "cudaStreamWaitEvent");
  }

  // Recorded on a stream of our own, for the default stream cannot be, and launched on the
  // caller's. See recordings.h for when. What cannot be recorded is done call by call, where an
  // error that is the body's own comes again.
  template <class Body>
  void repeatable(const device::Key& key, int64_t calls, Body&& body) {
    constexpr int64_t kFewCalls = 16;  // not worth a graph
    if (calls < kFewCalls || !graphs_wanted()) return body(*this);
    if (state_->launch(key)) return;
    if (!state_->worth_recording(key, calls)) return body(*this);
    if (!state_->keep(key, calls, record(body))) body(*this);
  }

 private:
  static unsigned blocks(int64_t count, int64_t size) {
    return unsigned(std::min<int64_t>((count + size - 1) / size, 0x7fffffff));
  }
  static void launched(const char* name) { check(cudaGetLastError(), "launch", name); }

  // Null where that failed: it may be that another thread waits for the whole device meanwhile.
  template <class Body>
  Owned<cudaGraph_t> record(Body&& body) {
    try {
      CudaQueue recorder(*this);
      recorder.recording_ = true;
      recorder.lane_ = state_->recorder(0);
      (void)state_->recorder(1), (void)state_->event(2), (void)state_->event(3);  // made before
      const std::shared_lock<std::shared_mutex> others(capturing());
      Capture capture(recorder.lane_.stream);
      body(recorder);
      return capture.end();
    } catch (...) {
      cudaGetLastError();
      return nullptr;
    }
  }

  std::shared_ptr<CudaArena> arena_;
  StreamState* state_;
  Lane lane_;
  bool recording_ = false;
};

}  // namespace normrnn::cuda
