// Every build has the whole CUDA face, and says what it lacks: this links all of it.
#include <cstring>

#include "check.h"
#include "normrnn/cuda.h"

namespace normrnn::test {
namespace {

template <class F>
void refuses(F&& f, const char* what) {
  std::string said;
  try {
    f();
  } catch (const cuda::Error& error) {
    said = error.what();
  }
  if (said.empty()) {
    std::printf("%s: expected an error\n", what);
    ++failures;
  }
}

// Without a device every call refuses, and before it looks at anything.
template <class T>
void check_without_device() {
  ForwardCall<T> forward{};
  forward.cell = "gru";
  forward.shape = {1, 1, 1, 1, 1, 1};
  forward.weights.resize(1);
  forward.final.resize(1);
  refuses([&] { cuda::forward(forward, cuda::Precision::kFull, {}); }, "forward");
  const UpdateCall<T> update{};
  refuses([&] { cuda::update(update, nullptr, {}); }, "update");
}

// Without a tape there is nothing to call, but it has to be there.
template <class T>
void check_linked() {
  CHECK(
      static_cast<void (*)(const cuda::Tape<T>&, const BackwardCall<T>&, T*, const cuda::Stream&)>(
          cuda::backward<T>) != nullptr);
  CHECK(static_cast<int64_t (*)(const cuda::Tape<T>&)>(cuda::bytes_of<T>) != nullptr);
}

void tests() {
  check_linked<float>();
  check_linked<double>();
  const int count = cuda::device_count();
  std::printf("CUDA %s, %d devices\n", cuda::is_built() ? "built" : "not built", count);
  CHECK(cuda::is_built() || count == 0);
  CHECK(cuda::graph_counts().launches == 0 && cuda::graph_counts().failures == 0);
  if (count > 0) {
    CHECK(!cuda::device_name(0).empty());
    float host = 2;
    void* memory = cuda::allocate(4, {});
    CHECK(cuda::device_of(memory) == 0);
    cuda::copy(memory, &host, 4, {});
    host = 0;
    cuda::copy(&host, memory, 4, {});
    CHECK(host == 2);
    cuda::free(memory, {});
    cuda::synchronize({});
    cuda::release_memory(0);
    return;
  }
  check_without_device<float>();
  check_without_device<double>();
  refuses([] { cuda::device_name(0); }, "device_name");
  refuses([] { cuda::allocate(4, {}); }, "allocate");
  refuses([] { cuda::synchronize({}); }, "synchronize");
  char byte[2];
  refuses([&] { cuda::copy(byte, byte + 1, 1, {}); }, "copy");
}

}  // namespace
}  // namespace normrnn::test

int main() { return normrnn::test::run(normrnn::test::tests); }
