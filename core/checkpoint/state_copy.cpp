#include "core/checkpoint/state_copy.h"

#include <glog/logging.h>

#include <algorithm>

namespace tsugi {
namespace {

/// Where the copy lies: beside the CPU's state, or where another device copies to at full speed.
std::shared_ptr<Storage> host_memory(const Context& context, size_t bytes) {
  return context.operators() == nullptr ? context.memory().allocate(bytes) : context.operators()->allocate_host(bytes);
}

}  // namespace

StateCopy::StateCopy(const Context& context, int64_t floats)
    : context_(context), buffer_(host_memory(context, static_cast<size_t>(bytes(floats))), {floats}, DType::kF32) {}

template <class F>
void StateCopy::for_each_run(const std::vector<StateRange>& ranges, F&& f) {
  auto* next = buffer_.data<float>();
  for (const StateRange& range : ranges) {
    for (float* values : {range.master, range.exp_avg, range.exp_avg_sq}) {
      if (values == nullptr) continue;
      CHECK_LE(next + range.length, buffer_.data<float>() + buffer_.shape().elements()) << "the copy is too small";
      f(values, next, range.length);
      next += range.length;
    }
  }
}

std::vector<StateRange> StateCopy::places(const std::vector<StateRange>& ranges) {
  std::vector<StateRange> copies = ranges;
  auto* next = buffer_.data<float>();
  for (StateRange& range : copies) {
    for (float** values : {&range.master, &range.exp_avg, &range.exp_avg_sq}) {
      if (*values == nullptr) continue;
      *values = next;
      next += range.length;
    }
  }
  return copies;
}

std::vector<StateRange> StateCopy::take(const std::vector<StateRange>& ranges) {
  if (DeviceOperators* device = context_.operators()) {
    for_each_run(ranges, [&](const float* state, float* copy, int64_t count) {
      device->copy_to_host(copy, state, static_cast<size_t>(count) * sizeof(float));
    });
    return places(ranges);
  }
  constexpr int64_t kPiece = 1 << 18;
  struct Copy {
    const float* from;
    float* to;
    int64_t count;
  };
  std::vector<Copy> pieces;
  for_each_run(ranges, [&](const float* state, float* copy, int64_t count) {
    for (int64_t begin = 0; begin < count; begin += kPiece) {
      pieces.push_back({state + begin, copy + begin, std::min(kPiece, count - begin)});
    }
  });
  context_.pool().for_each(static_cast<int64_t>(pieces.size()), [&](int64_t index, int) {
    const Copy& piece = pieces[static_cast<size_t>(index)];
    std::copy_n(piece.from, piece.count, piece.to);
  });
  return places(ranges);
}

void StateCopy::put(const std::vector<StateRange>& ranges) {
  DeviceOperators* device = context_.operators();
  CHECK(device != nullptr) << "the CPU's state is read where it lies";
  for_each_run(ranges, [&](float* state, const float* copy, int64_t count) {
    device->copy_to_device(state, copy, static_cast<size_t>(count) * sizeof(float));
  });
}

}  // namespace tsugi
