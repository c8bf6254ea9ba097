// Arrays in the memory of a GPU: those of callers, by what they say of themselves, and our own.
// Nothing is converted or copied: an array is taken as it is or not at all.
#pragma once

#include <optional>

#include "arrays.h"
#include "normrnn/cuda.h"

namespace normrnn::bindings {

// Throws cuda::Error in builds without CUDA, and where there is no GPU.
void require_device();

std::string device_text(int device);  // "cuda:0"

// Handles 0 and 1 are the same stream, the legacy default one.
inline uintptr_t plain_handle(uintptr_t handle) { return handle ? handle : 1; }

// An array by __cuda_array_interface__ or DLPack. It is there for as long as `owner` is.
struct DeviceView {
  void* data;
  Dims dims;
  std::string dtype;  // as NumPy calls it
  bool contiguous;    // C-contiguous and aligned
  bool read_only;
  int device;                       // -1: not known, for it is empty
  std::optional<uintptr_t> stream;  // that its contents are in the order of, where it says so
  bool says_streams = true;         // else it may be in the order of one all the same
  py::object owner;

  int64_t size() const;
};

// The device and the stream of one call, and how its arrays are read. The first array says the
// device. The stream is the caller's, else the tape's, else the first that an array names, else the
// default one; where an array names another, the stream waits for that.
class DeviceScope {
 public:
  DeviceScope(const py::object& stream, py::object stream_owner);  // a handle or None
  DeviceScope();  // for looking at facts, not at contents: nothing is waited for

  // Where `what` is; on its stream, unless the caller named one.
  void stay_on(const cuda::Stream& stream, const py::object& stream_owner, const std::string& what);

  // Of any dtype and shape, contiguous, on this device.
  DeviceView look(const std::string& name, const py::handle& object);
  template <class T>
  DeviceView input(const std::string& name, const py::handle& object, const Dims& dims);
  template <class T>
  DeviceView in_place(const std::string& name, const py::handle& object, const Dims& dims);
  // The same for an array that has been looked at.
  template <class T>
  static void expect(const std::string& name, const DeviceView& view, const Dims& dims,
                     bool writeable);

  cuda::Stream stream() const;
  const py::object& stream_owner() const { return owner_; }

 private:
  bool ordered_ = true;
  std::optional<uintptr_t> handle_;
  py::object owner_;
  int device_ = -1;
  std::string first_;
};

bool is_float32(const std::string& name, const DeviceView& view);

// An array of our own, in the pool of its device and the order of a stream; not initialised.
class DeviceArray {
 public:
  DeviceArray(bool float32, Dims dims, const cuda::Stream& stream, py::object stream_owner);

  void* data() const;
  bool float32() const { return float32_; }
  const Dims& dims() const { return dims_; }
  int64_t size() const;
  int64_t nbytes() const { return size() * (float32_ ? 4 : 8); }
  const cuda::Stream& stream() const;
  py::dtype dtype() const;

  void from_host(const py::array& array);  // of its dtype and shape, contiguous
  py::array to_host() const;               // waits for the stream
  py::dict cuda_array_interface() const;
  py::capsule dlpack(const py::object& stream, const py::object& max_version) const;

 private:
  struct Block;  // its memory, with whatever of the caller's keeps the stream open
  std::shared_ptr<Block> block_;
  bool float32_;
  Dims dims_;
};

// To be filled by a call, on its stream.
template <class T>
std::shared_ptr<DeviceArray> make_on(const DeviceScope& scope, const Dims& dims) {
  return std::make_shared<DeviceArray>(sizeof(T) == 4, dims, scope.stream(), scope.stream_owner());
}
template <class T>
T* data_of(const std::shared_ptr<DeviceArray>& array) {
  return static_cast<T*>(array->data());
}

}  // namespace normrnn::bindings
