// Memory whose pages exist once they are touched, for rows that lie gigabytes apart.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace normrnn::test {

// Zeros. Ends the program where the system refuses addresses that nothing may ever stand behind.
template <class T>
class SparseArray {
 public:
  explicit SparseArray(int64_t count) : bytes_(size_t(count) * sizeof(T)) {
    constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, kFlags, -1, 0);
    if (memory == MAP_FAILED) {
      std::printf("mmap: expected %zu bytes of addresses, got none\n", bytes_);
      std::exit(1);
    }
#if defined(MADV_NOHUGEPAGE)
    madvise(memory, bytes_, MADV_NOHUGEPAGE);  // a row touches a page, not two megabytes
#endif
    data_ = static_cast<T*>(memory);
  }
  SparseArray(const SparseArray&) = delete;
  SparseArray& operator=(const SparseArray&) = delete;
  ~SparseArray() { munmap(data_, bytes_); }
  T* get() { return data_; }

 private:
  size_t bytes_;
  T* data_;
};

// The stride at which the last of so many rows begins beyond 2^31 elements.
constexpr int64_t far_stride(int64_t rows) {
  return ((int64_t(1) << 31) / (rows - 1) / 16 + 1) * 16;
}

// Rows of a matrix, at data + place * ld.
template <class T>
struct SparseRows {
  int64_t rows, width, ld;
  SparseArray<T> memory;

  SparseRows(int64_t count, int64_t columns, int64_t stride)
      : rows(count), width(columns), ld(stride), memory(rows * ld) {}

  T* row(int64_t i) { return memory.get() + i * ld; }
  void fill(const std::vector<T>& values) {  // [rows, width]
    for (int64_t i = 0; i < rows * width; ++i) row(i / width)[i % width] = values[size_t(i)];
  }
  void append_to(std::vector<T>& values) {
    for (int64_t i = 0; i < rows; ++i) values.insert(values.end(), row(i), row(i) + width);
  }
};

}  // namespace normrnn::test
