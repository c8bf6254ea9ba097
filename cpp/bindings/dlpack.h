// What lies in a capsule of DLPack (https://dmlc.github.io/dlpack): one tensor, version 0 or 1.
#pragma once

#include <cstdint>

namespace normrnn::bindings::dlpack {

constexpr int32_t kCuda = 2, kCudaManaged = 13;  // kinds of device
constexpr uint8_t kFloat = 2;                    // kind of number
constexpr uint64_t kReadOnly = 1;                // flag

struct Tensor {
  void* data;
  int32_t device_kind, device;
  int32_t rank;
  uint8_t kind, bits;
  uint16_t lanes;
  int64_t* shape;    // [rank]
  int64_t* strides;  // [rank], in elements, or null: C-contiguous
  uint64_t offset;   // in bytes
};

// In a capsule named "dltensor".
struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

// In one named "dltensor_versioned".
struct Versioned {
  uint32_t major, minor;
  void* context;
  void (*deleter)(Versioned*);
  uint64_t flags;
  Tensor tensor;
};

}  // namespace normrnn::bindings::dlpack
