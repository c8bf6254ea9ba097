// Our own arrays in the memory of a GPU.
#include "device_arrays.h"

#include <pybind11/stl.h>

#include <atomic>

#include "dlpack.h"

namespace normrnn::bindings {

void require_device() {
  static bool found = false;  // under the GIL
  if (found) return;
  if (!cuda::is_built()) cuda::device_name(0);  // throws, and says why
  if (cuda::device_count() == 0) {
    throw cuda::Error("device: expected an NVIDIA GPU and its driver, found none");
  }
  found = true;
}

std::string device_text(int device) { return "cuda:" + std::to_string(device); }

namespace {

// Unlike a std::thread::id, of no thread that comes later.
uint64_t this_thread() {
  static std::atomic<uint64_t> threads{0};
  thread_local const uint64_t number = ++threads;
  return number;
}

}  // namespace

struct DeviceArray::Block {
  cuda::Stream stream;
  py::object stream_owner;
  void* memory;
  uint64_t maker = this_thread();

  Block(int64_t bytes, const cuda::Stream& on, py::object owner)
      : stream(on), stream_owner(std::move(owner)), memory(nullptr) {
    if (bytes) memory = cuda::allocate(bytes, stream);
  }
  ~Block() {
    try {
      if (!memory) return;
      catch_up();
      cuda::free(memory, stream);
    } catch (const std::exception&) {
      // The device is lost to this process, and the memory with it; whoever uses it next is told.
      // Or the stream is being captured: what is captured may use the memory for as long as it is.
    }
  }

  // A thread's own default stream has the same handle on each: on another thread it is another
  // stream, in whose order nothing here is.
  void catch_up() const {
    constexpr uintptr_t kOfThread = 2;
    if (reinterpret_cast<uintptr_t>(stream.handle) == kOfThread && maker != this_thread()) {
      cuda::synchronize_device(stream.device);
    }
  }
};

DeviceArray::DeviceArray(bool float32, Dims dims, const cuda::Stream& stream,
                         py::object stream_owner)
    : float32_(float32), dims_(std::move(dims)) {
  block_ = std::make_shared<Block>(nbytes(), stream, std::move(stream_owner));
}

void* DeviceArray::data() const { return block_->memory; }
const cuda::Stream& DeviceArray::stream() const { return block_->stream; }
int64_t DeviceArray::size() const {
  int64_t count = 1;
  for (const py::ssize_t dim : dims_) count *= dim;
  return count;
}
py::dtype DeviceArray::dtype() const {
  return float32_ ? py::dtype::of<float>() : py::dtype::of<double>();
}

void DeviceArray::from_host(const py::array& array) {
  const void* from = array.data();
  without_gil([&] {
    if (nbytes()) cuda::copy(data(), from, nbytes(), stream());
    cuda::synchronize(stream());  // of page-locked memory the copy is still under way
  });
}

py::array DeviceArray::to_host() const {
  py::array array = make_bytes(dtype(), dims_);
  void* to = array.mutable_data();
  without_gil([&] {
    block_->catch_up();
    if (nbytes()) cuda::copy(to, data(), nbytes(), stream());
    cuda::synchronize(stream());
  });
  return array;
}

py::dict DeviceArray::cuda_array_interface() const {
  without_gil([&] { block_->catch_up(); });
  py::dict facts;
  facts["version"] = 3;
  facts["shape"] = py::tuple(py::cast(std::vector<py::ssize_t>(dims_)));
  facts["typestr"] = float32_ ? "<f4" : "<f8";
  facts["data"] = py::make_tuple(reinterpret_cast<uintptr_t>(data()), false);
  facts["strides"] = py::none();
  facts["stream"] = plain_handle(reinterpret_cast<uintptr_t>(stream().handle));
  return facts;
}

namespace {

// What a capsule holds: the tensor, its shape and its share of the memory.
template <class Form>
struct Exported {
  Form form{};
  std::vector<int64_t> shape;
  std::shared_ptr<void> block;
};

template <class Form>
void give_back(Form* form) {
  if (!Py_IsInitialized()) return;
  py::gil_scoped_acquire gil;  // an array may be dropped on any thread
  delete static_cast<Exported<Form>*>(form->context);
}

template <class Form>
void drop(PyObject* capsule, const char* name) {
  if (!PyCapsule_IsValid(capsule, name)) return;  // taken over by a consumer
  auto* form = static_cast<Form*>(PyCapsule_GetPointer(capsule, name));
  form->deleter(form);
}

}  // namespace

py::capsule DeviceArray::dlpack(const py::object& stream, const py::object& max_version) const {
  // By the standard: None is the legacy default stream, -1 asks not to wait.
  const auto consumer = stream.is_none() ? int64_t(1) : stream.cast<int64_t>();
  if (consumer == 0 || consumer < -1) {
    refuse_value("stream", "None, -1, or a handle from 1 on", std::to_string(consumer));
  }
  without_gil([&] { block_->catch_up(); });
  const auto own = plain_handle(reinterpret_cast<uintptr_t>(this->stream().handle));
  if (consumer > 0 && uintptr_t(consumer) != own) {
    cuda::wait({this->stream().device, reinterpret_cast<void*>(consumer)}, this->stream());
  }
  const auto fill = [&](auto exported) {
    dlpack::Tensor& tensor = exported->form.tensor;
    exported->shape.assign(dims_.begin(), dims_.end());
    exported->block = block_;
    tensor.data = data();
    tensor.device_kind = dlpack::kCuda;
    tensor.device = this->stream().device;
    tensor.rank = int32_t(dims_.size());
    tensor.kind = dlpack::kFloat;
    tensor.bits = float32_ ? 32 : 64;
    tensor.lanes = 1;
    tensor.shape = exported->shape.data();
    exported->form.context = exported;
  };
  if (!max_version.is_none() && max_version.cast<std::pair<int, int>>().first >= 1) {
    auto exported = std::make_unique<Exported<dlpack::Versioned>>();
    exported->form.major = 1;
    exported->form.deleter = give_back<dlpack::Versioned>;
    fill(exported.get());
    dlpack::Versioned* const form = &exported->form;
    const py::capsule capsule(form, "dltensor_versioned", [](PyObject* self) {
      drop<dlpack::Versioned>(self, "dltensor_versioned");
    });
    (void)exported.release();  // the capsule's
    return capsule;
  }
  auto exported = std::make_unique<Exported<dlpack::Managed>>();
  exported->form.deleter = give_back<dlpack::Managed>;
  fill(exported.get());
  dlpack::Managed* const form = &exported->form;
  const py::capsule capsule(form, "dltensor",
                            [](PyObject* self) { drop<dlpack::Managed>(self, "dltensor"); });
  (void)exported.release();
  return capsule;
}

}  // namespace normrnn::bindings
