// cp.async: copies land when their issuer waits for them, and not before.
#include "ops/cuda/emulated/device.h"

namespace tsugi::dev {

void copy_async_16(void* to_shared, const void* from_global, bool valid, Where where) {
  if (reinterpret_cast<uintptr_t>(to_shared) % 16 != 0) {
    emulated::fault("copy_async: shared memory that is not 16-byte aligned", where);
  }
  if (valid) emulated::check_global(from_global, 16, 16, where);
  emulated::Lane& lane = *emulated::current_lane;
  shared_memory().begin_copy(to_shared, 16, emulated::current_accessor());
  std::memset(to_shared, 0xFF, 16);
  lane.copies.push_back({to_shared, valid ? from_global : nullptr, lane.copy_groups});
}

void copy_async_commit() { ++emulated::current_lane->copy_groups; }

void copy_async_wait_at_most(int groups) {
  emulated::Lane& lane = *emulated::current_lane;
  while (!lane.copies.empty() && lane.copies.front().group < lane.copy_groups - groups) {
    const emulated::PendingCopy& copy = lane.copies.front();
    if (copy.from != nullptr) {
      std::memcpy(copy.to, copy.from, 16);
    } else {
      std::memset(copy.to, 0, 16);
    }
    shared_memory().landed(copy.to, 16, emulated::current_accessor());
    lane.copies.pop_front();
  }
}

}  // namespace tsugi::dev
