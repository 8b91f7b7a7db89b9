#include "ops/cuda/upload_ring.h"

#include <algorithm>
#include <cstring>

#include "ops/tensor/memory.h"

namespace tsugi::cuda {

void UploadRing::next_segment(Stream& stream) {
  read_[segment_].record(stream);
  left_[segment_] = true;
  segment_ = (segment_ + 1) % kSegments;
  if (left_[segment_]) read_[segment_].wait();
  left_[segment_] = false;
  used_ = 0;
}

void UploadRing::copy(Stream& stream, void* to, const void* from, size_t bytes) {
  auto* target = static_cast<std::byte*>(to);
  const auto* source = static_cast<const std::byte*>(from);
  // At once: taking pinned memory may wait for the device.
  if (memory_.data() == nullptr) memory_ = HostBuffer(kSegments * kSegmentBytes);
  while (bytes > 0) {
    if (used_ == kSegmentBytes) next_segment(stream);
    const size_t piece = std::min(bytes, kSegmentBytes - used_);
    std::byte* const stage = static_cast<std::byte*>(memory_.data()) + segment_ * kSegmentBytes + used_;
    std::memcpy(stage, source, piece);
    stream.copy(target, stage, piece);
    used_ = std::min(kSegmentBytes, used_ + aligned(piece));
    target += piece;
    source += piece;
    bytes -= piece;
  }
}

}  // namespace tsugi::cuda
