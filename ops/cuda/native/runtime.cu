// The CUDA runtime behind ops/cuda/runtime.h.
#include <string>
#include <utility>

#include "ops/cuda/device_error.h"
#include "ops/cuda/runtime.h"
#include "ops/cuda/shared_bytes.h"
#include "ops/cuda/signal.h"

namespace tsugi::cuda {

struct EventState {
  cudaEvent_t event = nullptr;
};

struct StreamState {
  cudaStream_t stream = nullptr;
};

struct GraphState {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
};

namespace {
constexpr bool is(DeviceError ours, cudaError_t theirs) { return static_cast<int>(ours) == static_cast<int>(theirs); }
}  // namespace
static_assert(is(kErrorMemoryAllocation, cudaErrorMemoryAllocation));
static_assert(is(kErrorDevicesUnavailable, cudaErrorDevicesUnavailable));
static_assert(is(kErrorEccUncorrectable, cudaErrorECCUncorrectable));
static_assert(is(kErrorNvlinkUncorrectable, cudaErrorNvlinkUncorrectable));
#if CUDART_VERSION >= 13000
static_assert(is(kErrorContained, cudaErrorContained));
#endif
static_assert(is(kErrorIllegalAddress, cudaErrorIllegalAddress));
static_assert(is(kErrorLaunchTimeout, cudaErrorLaunchTimeout));
static_assert(is(kErrorAssert, cudaErrorAssert));
static_assert(is(kErrorHardwareStackError, cudaErrorHardwareStackError));
static_assert(is(kErrorIllegalInstruction, cudaErrorIllegalInstruction));
static_assert(is(kErrorMisalignedAddress, cudaErrorMisalignedAddress));
static_assert(is(kErrorInvalidAddressSpace, cudaErrorInvalidAddressSpace));
static_assert(is(kErrorInvalidPc, cudaErrorInvalidPc));
static_assert(is(kErrorLaunchFailure, cudaErrorLaunchFailure));
static_assert(is(kErrorSystemNotReady, cudaErrorSystemNotReady));
static_assert(is(kErrorUnknown, cudaErrorUnknown));

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  const ErrorMeaning meaning = meaning_of(status);
  throw Error(meaning.code, std::string("CUDA: ") + what + ": " + cudaGetErrorString(status), meaning.hint);
}

cudaStream_t native(const Stream& stream) { return stream.state().stream; }

int device_count(std::string& why) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return count;
  int driver = 0;
  if (status == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0) {
    why = "there is no driver of CUDA";
  } else {
    why = status == cudaSuccess ? "there is no device" : cudaGetErrorString(status);
  }
  return 0;
}

void require_usable(int ordinal) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, ordinal), "a device");
  if (properties.major < 8) {
    throw Error(ExitCode::kUsage,
                std::string("CUDA: ") + properties.name + " has compute capability " +
                    std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                    ", the kernels need 8.0",
                "use a device of the Ampere generation or later, or compute.device: CPU");
  }
}

void use_device(int ordinal) {
  require_usable(ordinal);
  check(cudaSetDevice(ordinal), "a device");
}

std::string describe_device() {
  int device = 0, driver = 0, runtime = 0;
  cudaDeviceProp properties;
  check(cudaGetDevice(&device), "a device");
  check(cudaGetDeviceProperties(&properties, device), "a device");
  check(cudaDriverGetVersion(&driver), "the driver's version");
  check(cudaRuntimeGetVersion(&runtime), "the runtime's version");
  const auto version = [](int number) {
    return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
  };
  return std::string(properties.name) + ", CUDA " + version(runtime) + ", driver " + version(driver);
}

int64_t busy_extent() { return 4096; }

namespace {
int attribute(cudaDeviceAttr name) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device), "a device");
  check(cudaDeviceGetAttribute(&value, name, device), "an attribute of a device");
  return value;
}
}  // namespace

int multiprocessors() { return attribute(cudaDevAttrMultiProcessorCount); }
bool has_wgmma() {
  return attribute(cudaDevAttrComputeCapabilityMajor) == 9 && attribute(cudaDevAttrComputeCapabilityMinor) == 0;
}

void allow_shared_bytes(const void* function, unsigned bytes) {
  const int available = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  if (bytes > static_cast<unsigned>(available)) {
    const char* name = nullptr;
#if CUDART_VERSION >= 12030
    if (cudaFuncGetName(&name, function) != cudaSuccess) name = nullptr;  // a driver before 12.3
#endif
    check_shared_bytes(name != nullptr ? name : "a kernel", bytes, static_cast<size_t>(available));
  }
  check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "shared memory of a kernel");
}

size_t cache_bytes() { return static_cast<size_t>(attribute(cudaDevAttrL2CacheSize)); }

HostBuffer::HostBuffer(size_t bytes) : bytes_(bytes) {
  const cudaError_t status = cudaMallocHost(&data_, bytes);
  if (status == cudaErrorMemoryAllocation) {
    const ErrorMeaning meaning = meaning_of(status, MemoryOf::kHost);
    throw Error(meaning.code, "CUDA: the host has no " + std::to_string(bytes) + " bytes that can be pinned",
                meaning.hint);
  }
  check(status, "pinned host memory");
}
// Freeing nothing would open the device: a plan does not.
HostBuffer::~HostBuffer() {
  if (data_ != nullptr) cudaFreeHost(data_);
}
HostBuffer::HostBuffer(HostBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
HostBuffer& HostBuffer::operator=(HostBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Buffer::Buffer(size_t bytes) : bytes_(bytes) {
  const cudaError_t status = cudaMalloc(&data_, bytes);
  if (status == cudaErrorMemoryAllocation) {
    size_t available = 0, total = 0;
    cudaMemGetInfo(&available, &total);
    const ErrorMeaning meaning = meaning_of(status);
    throw Error(meaning.code,
                "CUDA: out of memory: " + std::to_string(bytes) + " bytes were needed at once, " +
                    std::to_string(available) + " of " + std::to_string(total) + " are free",
                meaning.hint);
  }
  check(status, "allocation of device memory");
}
Buffer::~Buffer() {
  if (data_ != nullptr) cudaFree(data_);
}
Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Event::Event() : state_(std::make_unique<EventState>()) {
  check(cudaEventCreateWithFlags(&state_->event, cudaEventDisableTiming), "an event");
}
Event::~Event() { cudaEventDestroy(state_->event); }

Stream::Stream() : state_(std::make_unique<StreamState>()) {
  check(cudaStreamCreateWithFlags(&state_->stream, cudaStreamNonBlocking), "a stream");
}
Stream::~Stream() { cudaStreamDestroy(state_->stream); }

void Stream::copy(void* to, const void* from, size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, state_->stream), "a copy");
}
void Stream::fill(void* to, unsigned char value, size_t bytes) {
  check(cudaMemsetAsync(to, value, bytes, state_->stream), "a fill");
}
void Stream::record(Event& event) { check(cudaEventRecord(event.state().event, state_->stream), "an event"); }
void Stream::wait(const Event& event) { check(cudaStreamWaitEvent(state_->stream, event.state().event, 0), "a wait"); }
void Stream::synchronize() { check(cudaStreamSynchronize(state_->stream), "work on the device"); }

struct SignalState {
  cudaEvent_t event = nullptr;
};

Signal::Signal() : state_(std::make_unique<SignalState>()) {
  check(cudaEventCreateWithFlags(&state_->event, cudaEventDisableTiming), "an event");
}
Signal::~Signal() { cudaEventDestroy(state_->event); }
void Signal::record(Stream& stream) { check(cudaEventRecord(state_->event, native(stream)), "an event"); }
bool Signal::done() const {
  const cudaError_t status = cudaEventQuery(state_->event);
  if (status == cudaErrorNotReady) return false;
  check(status, "work on the device");
  return true;
}

void Signal::wait() const { check(cudaEventSynchronize(state_->event), "work on the device"); }

void* handle_of(Stream& stream) { return native(stream); }

Graph::Graph() : state_(std::make_unique<GraphState>()) {}
Graph::~Graph() {
  if (state_->executable != nullptr) cudaGraphExecDestroy(state_->executable);
  if (state_->graph != nullptr) cudaGraphDestroy(state_->graph);
}
void Graph::begin_capture(Stream& stream) {
  check(cudaStreamBeginCapture(native(stream), cudaStreamCaptureModeThreadLocal), "begin of a capture");
}
void Graph::end_capture(Stream& stream) {
  check(cudaStreamEndCapture(native(stream), &state_->graph), "end of a capture");
  check(cudaGraphInstantiate(&state_->executable, state_->graph, 0), "a graph");
}
void Graph::launch(Stream& stream) { check(cudaGraphLaunch(state_->executable, native(stream)), "launch of a graph"); }

}  // namespace tsugi::cuda
