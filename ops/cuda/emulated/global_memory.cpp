#include "ops/cuda/emulated/global_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

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

bool is_poison(const std::byte* begin, size_t bytes) {
  return std::all_of(begin, begin + bytes, [](std::byte b) { return b == std::byte{kPoison}; });
}

}  // namespace

void* allocate_global(size_t bytes) {
  const size_t total = (bytes + kGuard - 1) / kGuard * kGuard + 2 * kGuard;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kGuard, total));
  if (memory == nullptr) throw Fault("no memory for " + std::to_string(bytes) + " bytes");
  std::memset(memory, kPoison, total);
  allocations()[memory + kGuard] = bytes;
  return memory + kGuard;
}

void free_global(void* address) {
  const auto found = allocations().find(static_cast<std::byte*>(address));
  if (found == allocations().end()) throw Fault("free of what was not allocated");
  const size_t bytes = found->second;
  allocations().erase(found);
  for (Range& range : recent) range = {};
  auto* data = static_cast<std::byte*>(address);
  const size_t tail = (bytes + kGuard - 1) / kGuard * kGuard + kGuard - bytes;
  const bool clean = is_poison(data - kGuard, kGuard) && is_poison(data + bytes, tail);
  std::free(data - kGuard);
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
