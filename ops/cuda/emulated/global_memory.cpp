#include "ops/cuda/emulated/global_memory.h"

#include <glog/logging.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include "ops/cuda/emulated/use_of_global_memory.h"

namespace tsugi::emulated {
namespace {

constexpr size_t kGuard = 256;
constexpr int kPoison = 0xFF;  // NaN in every floating type

/// Allocations by address: begin -> bytes.
std::map<const std::byte*, size_t>& allocations() {
  static std::map<const std::byte*, size_t> instance;
  return instance;
}

struct Range {
  const std::byte* begin = nullptr;
  const std::byte* end = nullptr;
};
/// The allocations last accessed: kernels touch few at a time.
Range recent[4];
unsigned next_recent = 0;

size_t total_of(size_t bytes) { return (bytes + kGuard - 1) / kGuard * kGuard + 2 * kGuard; }

/// How many pieces of work run that may use device memory.
int users = 0;

void protect(const std::byte* data, size_t bytes, int access) {
  PCHECK(mprotect(const_cast<std::byte*>(data) - kGuard, total_of(bytes), access) == 0);
}

void protect_all(int access) {
  for (const auto& [data, bytes] : allocations()) protect(data, bytes, access);
}

bool is_poison(const std::byte* begin, size_t bytes) {
  return std::all_of(begin, begin + bytes, [](std::byte b) { return b == std::byte{kPoison}; });
}

}  // namespace

UseOfGlobalMemory::UseOfGlobalMemory() {
  if (users++ == 0) protect_all(PROT_READ | PROT_WRITE);
}

UseOfGlobalMemory::~UseOfGlobalMemory() {
  if (--users == 0) protect_all(PROT_NONE);
}

void* allocate_global(size_t bytes) {
  const size_t total = total_of(bytes);
  void* const mapped = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* memory = static_cast<std::byte*>(mapped);
  if (mapped == MAP_FAILED) throw Fault("no memory for " + std::to_string(bytes) + " bytes");
  std::memset(memory, kPoison, total);
  allocations()[memory + kGuard] = bytes;
  if (users == 0) protect(memory + kGuard, bytes, PROT_NONE);
  return memory + kGuard;
}

void free_global(void* address) {
  const auto found = allocations().find(static_cast<std::byte*>(address));
  if (found == allocations().end()) throw Fault("free of what was not allocated");
  const size_t bytes = found->second;
  allocations().erase(found);
  for (Range& range : recent) range = {};
  auto* data = static_cast<std::byte*>(address);
  protect(data, bytes, PROT_READ | PROT_WRITE);
  const size_t tail = (bytes + kGuard - 1) / kGuard * kGuard + kGuard - bytes;
  const bool clean = is_poison(data - kGuard, kGuard) && is_poison(data + bytes, tail);
  munmap(data - kGuard, total_of(bytes));
  if (!clean) throw Fault("device memory was written outside an allocation of " + std::to_string(bytes) + " bytes");
}

void check_global(const void* address, size_t bytes, size_t alignment, Where where) {
  const auto* begin = static_cast<const std::byte*>(address);
  if (reinterpret_cast<uintptr_t>(begin) % alignment != 0) {
    fault("global memory: an access of " + std::to_string(bytes) + " bytes at an address that is not a multiple of " +
              std::to_string(alignment),
          where);
  }
  for (const Range& range : recent) {
    if (begin >= range.begin && begin + bytes <= range.end) return;
  }
  auto after = allocations().upper_bound(begin);
  if (after == allocations().begin()) fault("global memory: an access to what is not device memory", where);
  const auto& [start, size] = *--after;
  if (begin + bytes > start + size) {
    fault("global memory: an access of " + std::to_string(bytes) + " bytes at byte " + std::to_string(begin - start) +
              " of an allocation of " + std::to_string(size),
          where);
  }
  recent[next_recent++ % 4] = {start, start + size};
}

}  // namespace tsugi::emulated
