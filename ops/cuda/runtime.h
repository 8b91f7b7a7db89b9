// What kernels run on: memory, streams, events, graphs and launches. One interface, two implementations: the CUDA
// runtime (native/) and an emulation on the CPU (emulated/) that executes streams in any order that their events allow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>

#include "ops/cuda/launch_size.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include <functional>
#include <typeinfo>
#endif

namespace tsugi::cuda {

/// Devices that this process can use; 0 with the reason in `why`: no driver, no device, a driver that is too old.
int device_count(std::string& why);
/// All work of the calling thread goes to device `ordinal` from now on. Throws Error(kUsage) when kernels were not
/// compiled for its architecture.
void use_device(int ordinal);
/// Its name, and the versions of driver and libraries: what bits may depend on.
std::string describe_device();
/// The extent of square matrices whose product keeps a large device busy for some tenths of a millisecond.
int64_t busy_extent();
/// Of the device in use: multiprocessors, and whether kernels of sm_90a (wgmma, TMA) run on it.
int multiprocessors();
bool has_wgmma();
/// Bytes of its L2 cache.
size_t cache_bytes();

/// Host memory that devices copy from and to at full speed while streams go on (pinned).
class HostBuffer {
 public:
  HostBuffer() = default;
  explicit HostBuffer(size_t bytes);
  ~HostBuffer();
  HostBuffer(HostBuffer&& other) noexcept;
  HostBuffer& operator=(HostBuffer&& other) noexcept;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

/// Device memory, freed on destruction after all work that was issued before. Throws Error(kUsage) where there is not
/// enough.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

struct StreamState;
struct EventState;
struct GraphState;

/// A point in a stream that others can wait for.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  EventState& state() const { return *state_; }

 private:
  std::unique_ptr<EventState> state_;
};

/// A queue of work. Work of different streams is ordered by events alone; the host sees results after synchronize().
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// Copies between device memory and host memory, in any direction. Host memory must live and stay unchanged until
  /// the stream is synchronised.
  void copy(void* to, const void* from, size_t bytes);
  /// Sets every byte.
  void fill(void* to, unsigned char value, size_t bytes);

  /// The event stands for all work issued to this stream so far.
  void record(Event& event);
  /// Later work of this stream runs after the work that the event stands for now (none if never recorded).
  void wait(const Event& event);

  void synchronize();
  StreamState& state() const { return *state_; }

 private:
  std::unique_ptr<StreamState> state_;
};

/// Work that is recorded once and launched many times. While a stream is captured nothing runs; streams that wait for
/// its events are captured with it and must be waited for by it before the end.
class Graph {
 public:
  Graph();
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void begin_capture(Stream& stream);
  void end_capture(Stream& stream);
  /// Runs the recorded work in order with what else is issued to `stream`.
  void launch(Stream& stream);

 private:
  std::unique_ptr<GraphState> state_;
};

#ifdef __CUDACC__

/// Throws Error unless `status` is cudaSuccess.
void check(cudaError_t status, const char* what);
cudaStream_t native(const Stream& stream);
/// Lets blocks of a kernel have so much shared memory. Throws Error(kUsage), which names it, where the device in use
/// has less.
void allow_shared_bytes(const void* function, unsigned bytes);

/// Launches kernel(arguments...). Under nvcc this is cudaLaunchKernel.
template <class... Parameters>
void launch(Stream& stream, void (*kernel)(Parameters...), const LaunchSize& size,
            std::type_identity_t<Parameters>... arguments) {
  const void* function = reinterpret_cast<const void*>(kernel);
  if (size.shared_bytes > 48 * 1024) allow_shared_bytes(function, size.shared_bytes);
  void* pointers[] = {&arguments...};
  check(cudaLaunchKernel(function, dim3(size.grid.x, size.grid.y, size.grid.z), dim3(size.threads), pointers,
                         size.shared_bytes, native(stream)),
        "launch of a kernel");
}

#else

/// Appends work to a stream of the emulation.
void enqueue(Stream& stream, std::function<void()> work);
void run_emulated(const LaunchSize& size, const std::function<void()>& body);
/// Throws Error(kUsage), which names the type of the kernel, where the emulated device has less for a block.
void check_shared_bytes_of(const char* type, unsigned bytes);

template <class... Parameters>
void launch(Stream& stream, void (*kernel)(Parameters...), const LaunchSize& size,
            std::type_identity_t<Parameters>... arguments) {
  check_shared_bytes_of(typeid(kernel).name(), size.shared_bytes);
  enqueue(stream, [=] { run_emulated(size, [&] { kernel(arguments...); }); });
}

#endif

}  // namespace tsugi::cuda
