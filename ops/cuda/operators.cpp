#include "ops/cuda/operators.h"

#include <algorithm>

#include "ops/base/error.h"
#include "ops/cuda/device_error.h"
#include "ops/cuda/gemm.h"
#include "ops/cuda/profile_ranges.h"
#include "ops/cuda/timer.h"

namespace tsugi::cuda {
namespace {

template <class B>
struct BufferStorage : Storage {
  BufferStorage(size_t size, DeviceKind kind) : buffer(std::max(size, kAlignment)) {
    data = static_cast<std::byte*>(buffer.data());
    bytes = size;
    device = kind;
  }
  B buffer;
};

class StreamStopwatch : public Stopwatch {
 public:
  explicit StreamStopwatch(Stream& stream) : stream_(stream) { timer_.start(stream_); }
  void stop() override { timer_.stop(stream_); }
  double seconds() const override { return timer_.seconds(); }

 private:
  Stream& stream_;
  Timer timer_;
};

}  // namespace

void refuse(const std::string& what, const std::string& hint) {
  throw Error(ExitCode::kUsage, "CUDA: " + what + " is not built", hint);
}

Stream& Operators::stream() {
  if (!stream_) stream_.emplace();
  return *stream_;
}

std::string Operators::describe() const {
  return describe_device() + ", products by version " + std::to_string(gemm_library_version());
}

int64_t Operators::busy_extent() const { return cuda::busy_extent(); }

std::shared_ptr<Storage> Operators::allocate(size_t bytes) {
  return std::make_shared<BufferStorage<Buffer>>(bytes, DeviceKind::kCuda);
}

std::shared_ptr<Storage> Operators::allocate_host(size_t bytes) {
  return std::make_shared<BufferStorage<HostBuffer>>(bytes, DeviceKind::kCpu);
}

void Operators::copy_to_device(void* to, const void* from, size_t bytes) {
  CHECK(!recording_) << "recorded work cannot copy from the host";
  if (!uploads_) uploads_.emplace();
  uploads_->copy(stream(), to, from, bytes);
}

void Operators::copy_to_host(void* to, const void* from, size_t bytes) {
  stream().copy(to, from, bytes);
  synchronize();
}

void Operators::copy(void* to, const void* from, size_t bytes) { stream().copy(to, from, bytes); }

void Operators::synchronize() {
  CHECK(!recording_) << "recorded work cannot be waited for";
  stream().synchronize();
  if (uploads_) uploads_->all_read();
}

std::unique_ptr<Stopwatch> Operators::start_stopwatch() { return std::make_unique<StreamStopwatch>(stream()); }

std::string Operators::choose_algorithms(const std::string& table, const std::string& origin) {
  const ProductTimes on_device = [this](const ProductShape& shape, std::span<const ProductAlgorithm> algorithms) {
    return time_algorithms(stream(), shape, algorithms);
  };
  return products_.choose(describe(), table, origin, product_times_ ? product_times_ : on_device);
}

void* Operators::keep(Buffer& buffer, size_t bytes) {
  if (buffer.bytes() < bytes) buffer = Buffer(bytes);
  return buffer.data();
}

std::optional<Error> device_problem(int ordinal) {
  try {
    require_usable(ordinal);
    gemm_library_version();  // loads it
  } catch (const Error& error) {
    if (error.code() != ExitCode::kUsage) throw;
    return error;
  }
  return std::nullopt;
}

std::unique_ptr<DeviceOperators> make_operators(int ordinal, AttentionKernel attention) {
  use_device(ordinal);
  check_attention(attention);
  show_profile_ranges();
  return std::make_unique<Operators>(attention);
}

Stream& stream_of(DeviceOperators& operators) { return dynamic_cast<Operators&>(operators).stream(); }

std::unique_ptr<DeviceOperators> make_planning_operators(AttentionKernel attention) {
  return std::make_unique<Operators>(attention);
}

}  // namespace tsugi::cuda
